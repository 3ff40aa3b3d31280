import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomIds, sequenceLogits, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { UserErrors } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference.ts";
import { loadDecoder, saveDecoder } from "../models/load.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { openGguf } from "./gguf.ts";
import {
  type GgufVocabulary,
  ggufModule,
  huggingFaceName,
  type LlamaSizes,
  llamaFields,
  llamaLora,
  llamaTensors,
} from "./gguf-llama.ts";
import { type GgufField, writeGguf } from "./gguf-write.ts";
import { tensorsToWrite } from "./merge-lora.ts";
import { turnRotaryRows } from "./rotary-rows.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-gguf-llama-"));
afterAll(() => rmSync(folder, { recursive: true }));
let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const SIZES: LlamaSizes = { ...TINY_SPEC, rotaryBase: 10_000, rotaryLayout: "halves" };
const VOCABULARY: GgufVocabulary = {
  texts: ["<unk>", "<s>", "</s>", "中"],
  scores: Float32Array.of(0, 0, 0, -1),
  types: Uint8Array.of(2, 3, 3, 1),
  bosId: 1,
  eosId: 2,
  unkId: 0,
  padId: null,
  addsBos: true,
  addsSpacePrefix: true,
};
const FROZEN = { storage: "float32", trainable: false } as const;

describe("a Llama model in GGUF", () => {
  it.each([false, true])("gives the same logits as the folder it was made from (tied head: %s)", async (tiedHead) => {
    const ids = randomIds(createRandom(7), 9);
    const model = await tinyDecoder(backend, { seed: 3, spec: { tiedHead } });
    const wanted = await sequenceLogits(model, ids);
    const directory = join(folder, `tied-${tiedHead}`);
    await saveDecoder(model, directory, { dtype: "F32" });
    const saved = await openCheckpoint(directory);
    const file = join(folder, `tied-${tiedHead}.gguf`);
    const tensors = llamaTensors(tensorsToWrite(saved.source), SIZES, "F32", file);
    await writeGguf(file, llamaFields("tiny", SIZES, VOCABULARY, "F32"), tensors);
    await saved.source.close();
    const opened = await openCheckpoint(file);
    expect(opened.config).toMatchObject({
      model_type: "llama",
      rope_layout: "interleaved",
      tie_word_embeddings: tiedHead,
    });
    const loaded = await loadDecoder(backend, opened, FROZEN);
    await opened.source.close();
    expect(loaded.spec).toMatchObject({ ...TINY_SPEC, tiedHead, normEpsilon: expect.closeTo(1e-5, 9), positions: {} });
    const got = await sequenceLogits(loaded, ids);
    const worst = Math.max(...Array.from(got, (value, i) => Math.abs(value - wanted[i])));
    expect(worst).toBeLessThan(1e-4);
  });

  it("states its vocabulary, filled up to the model's size", async () => {
    const file = join(folder, "vocabulary.gguf");
    await writeGguf(file, llamaFields("tiny", { ...SIZES, vocabularySize: 6 }, VOCABULARY, "Q8_0"), []);
    const { metadata, close } = await openGguf(file);
    await close();
    expect(metadata.get("tokenizer.ggml.tokens")).toEqual(["<unk>", "<s>", "</s>", "中", "[PAD0]", "[PAD1]"]);
    expect(metadata.get("tokenizer.ggml.scores")).toEqual([0, 0, 0, -1, -10_000, -10_000]);
    expect(metadata.get("tokenizer.ggml.token_type")).toEqual([2, 3, 3, 1, 5, 5]);
    expect(metadata.get("tokenizer.ggml.bos_token_id")).toBe(1);
    expect(metadata.has("tokenizer.ggml.padding_token_id")).toBe(false);
    expect(metadata.get("general.file_type")).toBe(7);
  });

  it("keeps vectors in float32 and rows that do not fill blocks in float16", () => {
    const of = (name: string, ...shape: number[]) => ({ name, dtype: "F32" as const, shape, values: async () => [] });
    const given = [
      of("model.norm.weight", 64),
      of("lm_head.weight", 3, 64),
      of("model.layers.0.mlp.up_proj.weight", 4, 40),
    ];
    expect(llamaTensors(given, SIZES, "Q8_0", "x").map(({ name, type }) => [name, type])).toEqual([
      ["output_norm.weight", "F32"],
      ["output.weight", "Q8_0"],
      ["blk.0.ffn_up.weight", "F16"],
    ]);
    expect(() => llamaTensors([of("model.layers.0.self_attn.q_norm.weight", 4)], SIZES, "F16", "x")).toThrow(
      'tensor "model.layers.0.self_attn.q_norm.weight" has no place in a GGUF file of a Llama model',
    );
  });

  it("names every module both ways", () => {
    expect(ggufModule("model.layers.12.self_attn.o_proj")).toBe("blk.12.attn_output");
    expect(huggingFaceName("blk.12.attn_output.weight")).toBe("model.layers.12.self_attn.o_proj.weight");
    expect(huggingFaceName("token_embd.weight")).toBe("model.embed_tokens.weight");
    expect(huggingFaceName("rope_freqs.weight")).toBeNull();
    expect(huggingFaceName("blk.0.attn_q.bias")).toBeNull();
    expect(ggufModule("model.rotary")).toBeNull();
  });

  it.each<[string, GgufField[]]>([
    [
      '"general.architecture" is "qwen2", expected "llama"',
      [{ key: "general.architecture", type: "string", value: "qwen2" }],
    ],
    ['"general.type" is "adapter", expected "model"', [{ key: "general.type", type: "string", value: "adapter" }]],
    ['"split.count" is 2, expected one file', [{ key: "split.count", type: "uint32", value: 2 }]],
    ['"llama.expert_count" is 8, expected no experts', [{ key: "llama.expert_count", type: "uint32", value: 8 }]],
    ['"llama.rope.scaling.type" is "linear"', [{ key: "llama.rope.scaling.type", type: "string", value: "linear" }]],
    [
      '"llama.rope.dimension_count" is 2, expected 4',
      [{ key: "llama.rope.dimension_count", type: "uint32", value: 2 }],
    ],
    [
      '"llama.attention.head_count_kv" is [2,2]',
      [{ key: "llama.attention.head_count_kv", type: "uint32", value: [2, 2] }],
    ],
  ])("says: %s", async (message, changes) => {
    const file = join(folder, "refused.gguf");
    const changed = new Set(changes.map(({ key }) => key));
    const fields = llamaFields("tiny", SIZES, VOCABULARY, "F32").filter(({ key }) => !changed.has(key));
    await writeGguf(file, [...fields, ...changes], []);
    const error = await openCheckpoint(file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect((error as UserErrors).message).toContain(message);
  });
});

describe("a LoRA adapter in GGUF", () => {
  it("has llama.cpp's names, and rows of b as those of its base", async () => {
    const config = { rank: 1, alpha: 8, dropout: 0, targetModules: ["q_proj"], baseModel: null };
    const module = "base_model.model.model.layers.1.self_attn.q_proj";
    const rows = Float32Array.from({ length: 16 }, (_, i) => i);
    const { fields, tensors } = llamaLora(
      config,
      [
        { name: `${module}.lora_A.weight`, dtype: "F32", shape: [1, 16], values: async () => rows },
        { name: `${module}.lora_B.weight`, dtype: "F32", shape: [16, 1], values: async () => rows },
      ],
      SIZES,
      "x",
    );
    expect(fields.map(({ key, value }) => [key, value])).toEqual([
      ["general.architecture", "llama"],
      ["general.type", "adapter"],
      ["adapter.type", "lora"],
      ["adapter.lora.alpha", 8],
    ]);
    expect(tensors.map(({ name }) => name)).toEqual(["blk.1.attn_q.weight.lora_a", "blk.1.attn_q.weight.lora_b"]);
    expect(Array.from(await tensors[0].values())).toEqual(Array.from(rows));
    expect(Array.from(await tensors[1].values())).toEqual([0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15]);
    const other = {
      name: "base_model.model.x.lora_A.weight",
      dtype: "F32" as const,
      shape: [1, 1],
      values: async () => [1],
    };
    expect(() => llamaLora(config, [other], SIZES, "x")).toThrow("has no place in an adapter of a Llama model");
  });
});

describe("turnRotaryRows", () => {
  it("moves rows i and i + half beside each other, and back", () => {
    // One head of 6 rows with 2 columns: reshape(heads, 2, half, …).swapaxes(1, 2) in llama.cpp's converter.
    const rows = Float32Array.of(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5);
    const beside = turnRotaryRows(rows, 1, 6, "interleaved");
    expect(Array.from(beside)).toEqual([0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
    expect(turnRotaryRows(beside, 1, 6, "halves")).toEqual(rows);
  });
});
