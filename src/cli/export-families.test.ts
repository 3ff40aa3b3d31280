import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { TOKENIZER, toyRecipe } from "../../test/e2e/support.ts";
import { tinyFamily } from "../../test/tiny-families.ts";
import { sequenceLogits } from "../../test/tiny-model.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { type GgufFile, openGguf } from "../formats/gguf.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { openModelTokenizer as openTokenizer } from "../runs/tokenizer.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import { addExportCommand } from "./export.ts";

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden");
const FROZEN = { storage: "float32", trainable: false } as const;
const root = mkdtempSync(join(tmpdir(), "cre-export-families-"));
afterAll(() => rmSync(root, { recursive: true }));
let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await backend.close();
});

const exported = async (...command: string[]) => {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addExportCommand(program);
  await program.parseAsync(["export", ...command], { from: "user" });
};

/** The run folder of an adapter of PEFT on a model of its makers (test/golden/make/families.py). */
function writeRun(family: string): { run: string; base: string } {
  const run = join(root, family);
  const base = join(root, `${family}-base`);
  cpSync(join(GOLDEN, family), base, { recursive: true });
  mkdirSync(run, { recursive: true });
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    copyFileSync(join(GOLDEN, family, "adapter", name), join(run, name));
  }
  const changes = {
    model: { path: base, tokenizer: TOKENIZER, storage: "float32" },
    adapter: { method: "lora", rank: 2, alpha: 8, dropout: 0, targets: "all" },
  };
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
  return { run, base };
}

async function ggufOf(file: string): Promise<GgufFile> {
  const gguf = await openGguf(file);
  await gguf.close();
  return gguf;
}

describe.each(["qwen2", "qwen3", "chatglm2", "baichuan2-7b", "baichuan2-13b"])("cre export of %s", (family) => {
  const golden = JSON.parse(readFileSync(join(GOLDEN, family, "golden.json"), "utf8"));

  it("--to merged gives the logits that PEFT gave, with the tensors and the types of the base", async () => {
    const { run, base } = writeRun(family);
    writeFileSync(join(base, "modeling_own.py"), "# the authors' code");
    await exported(run, "--to", "merged", "--type", "F32");
    const output = join(run, "export", "merged");
    const checkpoint = await openCheckpoint(output);
    const model = await loadDecoder(backend, checkpoint, FROZEN);
    await checkpoint.source.close();
    for (const [i, ids] of golden.sequences.entries()) {
      const logits = Array.from(await sequenceLogits(model, ids)).slice(-model.spec.vocabularySize);
      const worst = logits.map((value, id) => Math.abs(value - golden.adapted.lastLogits[i][id]));
      expect(Math.max(...worst)).toBeLessThan(1e-4);
    }
    const config = JSON.parse(readFileSync(join(base, "config.json"), "utf8"));
    const written = JSON.parse(readFileSync(join(output, "config.json"), "utf8"));
    expect(written).toEqual({ ...config, torch_dtype: "float32" });
    expect(existsSync(join(output, "modeling_own.py"))).toBe("auto_map" in config);
    await exported(run, "--to", "merged", "--output", join(root, `${family}-own-type`));
    const own = await openCheckpoint(join(root, `${family}-own-type`));
    await own.source.close();
    const source = await openCheckpoint(base);
    await source.source.close();
    const typesOf = ({ tensors }: typeof own.source) => [...tensors].map(([name, { dtype }]) => `${name} ${dtype}`);
    expect(typesOf(own.source).sort()).toEqual(typesOf(source.source).sort());
  });

  it("--to gguf-lora gives an adapter, or says that llama.cpp has other positions", async () => {
    const { run } = writeRun(family);
    const wanted = {
      qwen2: ["attn_q", "attn_v"],
      qwen3: ["attn_q", "attn_v"],
      chatglm2: ["attn_qkv"],
    }[family];
    if (!wanted) {
      await expect(exported(run, "--to", "gguf-lora")).rejects.toThrow(/has 2 layers, llama.cpp computes it only with/);
      return;
    }
    await exported(run, "--to", "gguf-lora");
    const { tensors, metadata } = await ggufOf(join(run, "export", "gguf-lora", `${family}-lora.gguf`));
    expect(metadata.get("general.architecture")).toBe(family === "chatglm2" ? "chatglm" : family);
    const names = [0, 1].flatMap((layer) => wanted.flatMap((part) => ["a", "b"].map((half) => [layer, part, half])));
    expect([...tensors.keys()].sort()).toEqual(
      names.map(([layer, part, half]) => `blk.${layer}.${part}.weight.lora_${half}`).sort(),
    );
  });
});

describe("the vocabulary of an exported GGUF file", () => {
  async function vocabularyOf(family: string, tokenizer: string, modelType: string) {
    const { vocabularySize: tokenCount } = await openTokenizer(tokenizer, { modelType });
    const model = await tinyFamily(backend, family, { seed: 1, vocabularySize: tokenCount + 2, tokenCount });
    const run = join(root, `${family}-full`);
    await saveDecoder(model, join(run, "model"), { dtype: "F32" });
    await copyTokenizer(tokenizer, join(run, "model"));
    writeFileSync(join(run, "recipe.yaml"), stringify(toyRecipe("data")));
    await exported(run, "--to", "gguf");
    const { metadata } = await ggufOf(join(run, "export", "gguf", `${family}-full-F32.gguf`));
    const of = (key: string) => metadata.get(`tokenizer.ggml.${key}`);
    return { of, metadata, tokens: of("tokens") as string[], types: of("token_type") as number[], tokenCount };
  }

  it("has ChatGLM2's commands behind the pieces, as control tokens", async () => {
    const { of, tokens, types, tokenCount } = await vocabularyOf("chatglm2", TOKENIZER, "chatglm");
    expect(tokens.slice(-7)).toEqual([
      ...["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"],
      ...[0, 1].map((i) => `[PAD${tokenCount + i}]`),
    ]);
    expect(types.slice(-7)).toEqual([3, 3, 3, 3, 3, 5, 5]);
    expect(of("pre")).toBe("chatglm-spm");
    expect(of("add_bos_token")).toBe(false);
  });

  it("has Qwen's added pieces and merges, and the chat template", async () => {
    const folder = join(root, "tokenizer");
    cpSync(join(GOLDEN, "tokenizer-json"), folder, { recursive: true });
    const settings = JSON.parse(readFileSync(join(folder, "tokenizer_config.json"), "utf8"));
    const templates = [
      { name: "tools", template: "another" },
      { name: "default", template: "{{ messages }}" },
    ];
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ ...settings, chat_template: templates }));
    const file = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8"));
    const { of, metadata, tokens, types, tokenCount } = await vocabularyOf("qwen2", folder, "qwen2");
    expect(metadata.get("tokenizer.chat_template")).toBe("{{ messages }}");
    expect(of("model")).toBe("gpt2");
    expect(of("pre")).toBe("qwen2");
    expect(of("merges")).toHaveLength(file.model.merges.length);
    for (const { id, content, special } of file.added_tokens) {
      expect([tokens[id], types[id]]).toEqual([content, special || /^<\|.*\|>$/.test(content) ? 3 : 4]);
    }
    expect(tokens).toHaveLength(tokenCount + 2);
    expect(of("eos_token_id")).toBe(tokens.indexOf("<|endoftext|>"));
  });

  it("is refused where it is larger than the model's", async () => {
    const { run } = writeRun("qwen2");
    await expect(exported(run, "--to", "gguf")).rejects.toThrow(/pieces, but the model's vocabulary is 64\./);
  });
});
