import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { TOKENIZER, toyRecipe } from "../../test/e2e/support.ts";
import { randomIds, sequenceLogits, tinyDecoder } from "../../test/tiny-model.ts";
import { loadLora, saveLora } from "../adapters/lora-files.ts";
import { attachLora, type LoraSettings, loraWeights, mergeLora } from "../adapters/lora-weights.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openGguf } from "../formats/gguf.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { reorderRotaryRows } from "../models/weight-rows.ts";
import { copyTokenizer, openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { addExportCommand } from "./export.ts";

const root = mkdtempSync(join(tmpdir(), "cre-export-"));
const base = join(root, "base");
const run = join(root, "run");
const full = join(root, "full");
const LORA: LoraSettings = { rank: 2, alpha: 8, dropout: 0, targets: "all" };
const FROZEN = { storage: "float32", trainable: false } as const;
const IDS = randomIds(createRandom(5), 7);
let backend: Backend;
let adapted: ArrayLike<number>;
let unadapted: ArrayLike<number>;

function writeRun(directory: string, changes: Record<string, unknown>): void {
  writeFileSync(join(directory, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
}

const exported = async (...command: string[]) => {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addExportCommand(program);
  await program.parseAsync(["export", ...command], { from: "user" });
};

async function logitsOf(path: string): Promise<ArrayLike<number>> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await sequenceLogits(await loadDecoder(backend, checkpoint, FROZEN), IDS);
  } finally {
    await checkpoint.source.close();
  }
}

const norm = (values: readonly number[]) => Math.hypot(...values);
const worst = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i])));

beforeAll(async () => {
  backend = openReference({ precision: "float32" });
  const { vocabularySize } = await openTokenizer(TOKENIZER);
  // Two rows more than pieces, as published models have.
  const spec = { vocabularySize: vocabularySize + 2, width: 32, heads: 4, headWidth: 8, feedForward: 64 };
  const positions = { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: 8 } as const;
  const model = await tinyDecoder(backend, { seed: 4, spec: { ...spec, positions }, deviation: 0.3 });
  await saveDecoder(model, base, { dtype: "F32" });
  await copyTokenizer(TOKENIZER, base);
  await saveDecoder(model, join(full, "model"), { dtype: "F32" });
  await copyTokenizer(TOKENIZER, join(full, "model"));
  writeRun(full, {});
  unadapted = await sequenceLogits(model, IDS);
  attachLora(model, LORA, 1);
  const random = createRandom(2);
  for (const weight of loraWeights(model)) {
    const length = weight.rows * weight.columns;
    backend.writeWeight(
      weight,
      Float32Array.from({ length }, () => random.normal() * 0.1),
    );
  }
  await saveLora(model, LORA, run, base);
  await mergeLora(model);
  adapted = await sequenceLogits(model, IDS);
  writeRun(run, { model: { path: base, storage: "nf4" }, adapter: { method: "lora", ...LORA } });
});
afterAll(async () => {
  await backend.close();
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("cre export", () => {
  it("begins with an adapter that does something", () => {
    expect(worst(adapted, unadapted)).toBeGreaterThan(0.1);
  });

  it("--to merged gives a folder with the same logits", async () => {
    await exported(run, "--to", "merged");
    const output = join(run, "export", "merged");
    expect(worst(await logitsOf(output), adapted)).toBeLessThan(1e-4);
    expect((await openTokenizer(output)).encode("合作")).toEqual((await openTokenizer(TOKENIZER)).encode("合作"));
    const config = JSON.parse(readFileSync(join(output, "config.json"), "utf8"));
    expect(config).toEqual(JSON.parse(readFileSync(join(base, "config.json"), "utf8")));
  });

  it("--to gguf gives one file with the same logits, its tokenizer in it", async () => {
    const output = join(root, "gguf");
    await exported(run, "--to", "gguf", "--output", output);
    expect(worst(await logitsOf(join(output, "run-F32.gguf")), adapted)).toBeLessThan(1e-4);
    const { metadata, tensors, close } = await openGguf(join(output, "run-F32.gguf"));
    await close();
    const tokenizer = await openTokenizer(TOKENIZER);
    const tokens = metadata.get("tokenizer.ggml.tokens") as string[];
    expect(tokens).toHaveLength(tokenizer.vocabularySize + 2);
    expect(tokens[300]).toBe(tokenizer.pieceOf(300));
    expect(tensors.get("blk.0.attn_q.weight")).toMatchObject({ dtype: "F32", shape: [32, 32] });
  });

  it("--to gguf --type Q8_0 stays near", async () => {
    await exported(run, "--to", "gguf", "--output", join(root, "gguf"), "--type", "Q8_0");
    const file = join(root, "gguf", "run-Q8_0.gguf");
    const got = await logitsOf(file);
    const error = norm(Array.from(got, (value, i) => value - adapted[i])) / norm(Array.from(adapted));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(0.03);
    const gguf = await openGguf(file);
    await gguf.close();
    expect(gguf.tensors.get("token_embd.weight")?.dtype).toBe("Q8_0");
  });

  it("--to peft gives the adapter that loads", async () => {
    await exported(run, "--to", "peft");
    const checkpoint = await openCheckpoint(base);
    const model = await loadDecoder(backend, checkpoint, FROZEN);
    await checkpoint.source.close();
    await loadLora(model, join(run, "export", "peft"));
    expect(worst(await sequenceLogits(model, IDS), adapted)).toBeLessThan(1e-4);
  });

  it("--to peft reorders the rows of an adapter on a base with interleaved rotary pairs", async () => {
    const beside = join(root, "beside");
    cpSync(base, join(beside, "base"), { recursive: true });
    cpSync(run, beside, { recursive: true });
    const config = JSON.parse(readFileSync(join(base, "config.json"), "utf8"));
    writeFileSync(join(beside, "base", "config.json"), JSON.stringify({ ...config, rope_layout: "interleaved" }));
    writeRun(beside, { model: { path: join(beside, "base") }, adapter: { method: "lora", ...LORA } });
    await exported(beside, "--to", "peft", "--output", join(beside, "peft"));
    const [given, turned] = await Promise.all([run, join(beside, "peft")].map(openPeftFolder));
    expect(turned.config).toEqual({ ...given.config, baseModel: "base" });
    const prefix = "base_model.model.model.layers.0.self_attn";
    for (const [name, heads] of [
      ["q_proj.lora_B", 4],
      ["k_proj.lora_B", 2],
      ["v_proj.lora_B", 0],
      ["q_proj.lora_A", 0],
    ] as const) {
      const values = await given.tensors.read(`${prefix}.${name}.weight`);
      const wanted = heads > 0 ? reorderRotaryRows(values, heads, 8, "halves") : values;
      expect(await turned.tensors.read(`${prefix}.${name}.weight`)).toEqual(wanted);
    }
    await given.tensors.close();
    await turned.tensors.close();
  });

  it("--to gguf-lora gives llama.cpp's adapter", async () => {
    await exported(run, "--to", "gguf-lora");
    const { metadata, tensors, close } = await openGguf(join(run, "export", "gguf-lora", "run-lora.gguf"));
    await close();
    expect(metadata.get("adapter.lora.alpha")).toBe(8);
    expect(tensors.size).toBe(2 * 7 * 2);
    expect(tensors.get("blk.1.ffn_down.weight.lora_b")?.shape).toEqual([32, 2]);
  });

  it("exports a model that was trained whole", async () => {
    await exported(full, "--to", "merged", "--type", "BF16");
    const merged = await openCheckpoint(join(full, "export", "merged"));
    await merged.source.close();
    expect(merged.config.torch_dtype).toBe("bfloat16");
    expect([...merged.source.tensors.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
    await expect(exported(full, "--to", "peft")).rejects.toThrow(/saves a whole model, there is no adapter/);
  });

  it("says what cannot be done", async () => {
    await expect(exported(run, "--to", "peft", "--type", "F16")).rejects.toThrow(
      "--type F16 does not go with --to peft",
    );
    await expect(exported(run, "--to", "merged", "--type", "Q8_0")).rejects.toThrow("--type Q8_0 does not go with");
    await expect(exported(join(root, "absent"), "--to", "gguf")).rejects.toThrow(/is not a run folder/);
    rmSync(join(full, "model", "config.json"));
    await expect(exported(full, "--to", "gguf")).rejects.toThrow(/training has not finished/);
    expect(existsSync(join(full, "export", "gguf"))).toBe(false);
  });
});
