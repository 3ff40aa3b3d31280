import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createRandom } from "../src/base/random.ts";
import { openReference } from "../src/compute/reference/backend.ts";
import { exportModel } from "../src/export/model.ts";
import { openGguf } from "../src/formats/gguf.ts";
import { openCheckpoint } from "../src/models/checkpoint.ts";
import { tensorType } from "../src/models/gguf/types.ts";
import { initDecoder } from "../src/models/init.ts";
import { loadDecoder } from "../src/models/load.ts";
import { saveDecoder } from "../src/models/save.ts";
import type { DecoderSpec } from "../src/models/spec.ts";
import { openModelTokenizer } from "../src/runs/tokenizer.ts";
import { copyTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { ROOT, temporaryFolder } from "./e2e/support.ts";
import { TINY_FAMILIES } from "./tiny-families.ts";
import { randomIds, sequenceLogits } from "./tiny-model.ts";

// Files of Q4_K_M and Q6_K next to those that llama.cpp's own llama_model_quantize makes of the same model (test/llama-cpp/quantize.py): the same
// types, and no larger mean |Δ log-probability| against float32.

const PACKAGE = join(import.meta.dirname, "llama-cpp");
const installed =
  existsSync(join(PACKAGE, "node_modules", "@node-llama-cpp", "linux-x64")) &&
  spawnSync("python3", ["-c", "import ctypes"], { stdio: "ignore" }).status === 0;
if (!installed)
  console.warn("k-quants.test.ts: skipped, test/llama-cpp (npm ci --ignore-scripts) or python3 is missing");

const temporary = temporaryFolder("k-quants");
afterAll(() => temporary.remove());
const TOKENIZER = join(ROOT, "test", "golden", "llama-tokenizers", "prefix.model");
const SEQUENCES = [1, 2].map((seed) => randomIds(createRandom(seed), 8, 300));

async function logProbabilitiesOf(path: string, backend = openReference({ precision: "float32" })): Promise<number[]> {
  const checkpoint = await openCheckpoint(path);
  try {
    const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    const size = model.spec.vocabularySize;
    const all: number[] = [];
    for (const ids of SEQUENCES) {
      const logits = Array.from(await sequenceLogits(model, ids));
      for (const i of ids.keys()) {
        const row = logits.slice(i * size, (i + 1) * size);
        const sum = Math.log(row.reduce((total, value) => total + Math.exp(value), 0));
        for (const value of row) all.push(value - sum);
      }
    }
    return all;
  } finally {
    await checkpoint.source.close();
    await backend.close();
  }
}

async function typesOf(file: string): Promise<Record<string, string>> {
  const { tensors, close } = await openGguf(file);
  await close();
  return Object.fromEntries([...tensors.values()].map(({ name, dtype }) => [name, dtype]));
}

/** Writes a model whose rows fill the blocks; returns its folder. */
async function writeModel(family: "llama" | "chatglm2", layers: number): Promise<string> {
  const base = join(temporary.path, family);
  const backend = openReference({ precision: "float32" });
  const modelType = TINY_FAMILIES[family].family;
  const { vocabularySize } = await openModelTokenizer(TOKENIZER, { modelType });
  const sizes = { width: 256, heads: 4, headWidth: 64, keyValueHeads: 4, feedForward: 512, layers };
  const own = TINY_FAMILIES[family].positions as Extract<DecoderSpec["positions"], { kind: "rotary" }>;
  const positions = { ...own, rotatedWidth: family === "llama" ? 64 : 32 };
  const spec = { ...TINY_FAMILIES[family], ...sizes, positions, vocabularySize, tokenCount: vocabularySize };
  const options = { storage: "float32", trainable: false, deviation: 0.08 } as const;
  await saveDecoder(await initDecoder(backend, spec, 7, options), base, { dtype: "F32" });
  await copyTokenizer(TOKENIZER, base);
  await backend.close();
  return base;
}

/** llama.cpp's own file; `number` is its name for the type. */
function quantized(plain: string, theirs: string, number: number): string {
  const made = spawnSync("python3", [join(PACKAGE, "quantize.py"), plain, theirs, String(number)], {
    encoding: "utf8",
  });
  expect({ status: made.status, stderr: made.stderr.slice(-500) }).toMatchObject({ status: 0 });
  return theirs;
}

describe.skipIf(!installed)("K-quants next to llama.cpp's own", () => {
  it("have the same types where one matrix holds queries, keys and values", { timeout: 120_000 }, async () => {
    const layers = 9;
    const base = await writeModel("chatglm2", layers);
    const plain = await exportModel(base, { to: "gguf", type: "F32", output: join(temporary.path, "fused") });
    const { tensors, close } = await openGguf(plain);
    await close();
    const rule = { layers, tiedHead: false };
    const ours = Object.fromEntries(
      [...tensors.values()].map(({ name, shape }) => [name, tensorType(name, shape, "Q4_K_M", rule)]),
    );
    expect(ours).toEqual(await typesOf(quantized(plain, join(temporary.path, "fused.gguf"), 15)));
    const fused = Array.from({ length: layers }, (_, i) => ours[`blk.${i}.attn_qkv.weight`]);
    expect(fused.filter((type) => type === "Q6_K").length).toBeGreaterThan(2);
    expect(fused).toContain("Q4_K");
  });

  it("have the same types, and their error is no larger", async () => {
    const base = await writeModel("llama", 4);
    const output = join(temporary.path, "out");
    const plain = await exportModel(base, { to: "gguf", type: "F32", output });
    const wanted = await logProbabilitiesOf(plain);
    for (const [type, number] of [
      ["Q4_K_M", 15],
      ["Q6_K", 18],
    ] as const) {
      const ours = await exportModel(base, { to: "gguf", type, output, overwrite: true });
      const theirs = quantized(plain, join(temporary.path, `theirs-${type}.gguf`), number);
      expect(await typesOf(ours)).toEqual(await typesOf(theirs));
      const errorOf = async (file: string) => {
        const got = await logProbabilitiesOf(file);
        return got.reduce((sum, value, i) => sum + Math.abs(value - wanted[i]), 0) / got.length;
      };
      const [own, other] = [await errorOf(ours), await errorOf(theirs)];
      console.info(
        `${type}: mean |Δ log-probability| ${own.toExponential(3)} here, ${other.toExponential(3)} of llama.cpp`,
      );
      expect(own).toBeGreaterThan(0);
      expect(own).toBeLessThan(1.02 * other);
    }
  }, 300_000);

  it("are the same of models/base-zh, whose rows do not fill the blocks", { timeout: 300_000 }, async () => {
    const base = join(ROOT, "models", "base-zh");
    const output = join(temporary.path, "base-zh");
    const plain = await exportModel(base, { to: "gguf", type: "F32", output });
    const ours = await exportModel(base, { to: "gguf", type: "Q4_K_M", output, overwrite: true });
    const theirs = quantized(plain, join(temporary.path, "theirs-base-zh.gguf"), 15);
    const types = await typesOf(ours);
    expect(types).toEqual(await typesOf(theirs));
    expect(new Set(Object.values(types))).toEqual(new Set(["F32", "Q5_0", "Q8_0"]));
    const [own, other] = [await openGguf(ours), await openGguf(theirs)];
    const different: string[] = [];
    for (const name of Object.keys(types)) {
      const [a, b] = [await own.read(name), await other.read(name)];
      if (a.some((value, i) => value !== b[i])) different.push(name);
    }
    await Promise.all([own.close(), other.close()]);
    expect(different).toEqual([]);
  });
});
