import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { TINY_FAMILIES, tinyFamily } from "../../../test/tiny-families.ts";
import { randomIds, sequenceLogits } from "../../../test/tiny-model.ts";
import { UserErrors } from "../../base/errors.ts";
import { createRandom } from "../../base/random.ts";
import type { Backend } from "../../compute/backend.ts";
import { openReference } from "../../compute/reference/backend.ts";
import { openGguf } from "../../formats/gguf.ts";
import { type GgufField, writeGguf } from "../../formats/gguf-write.ts";
import { tensorsToWrite } from "../../formats/merge-lora.ts";
import type { Checkpoint } from "../../formats/model-folder.ts";
import { createChunkBuffers } from "../../formats/row-chunks.ts";
import { decodeElements } from "../../formats/tensor-source.ts";
import { openCheckpoint } from "../checkpoint.ts";
import { FAMILIES, familyNamed } from "../families/registry.ts";
import { loadDecoder } from "../load.ts";
import { saveDecoder } from "../save.ts";
import type { DecoderSpec } from "../spec.ts";
import { type GgufVocabulary, ggufFields } from "./fields.ts";
import { ggufParts, placeOf } from "./names.ts";
import { ggufLora, ggufTensors } from "./write.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-gguf-model-"));
afterAll(() => rmSync(folder, { recursive: true }));
let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const specOf = (name: string): DecoderSpec => TINY_FAMILIES[name];
const SPEC = specOf("llama");
const PIECES: GgufVocabulary = {
  texts: ["<unk>", "<s>", "</s>", "中"],
  types: Uint8Array.of(2, 3, 3, 1),
  cutBy: { scores: Float32Array.of(0, 0, 0, -1), addsSpacePrefix: true },
  bosId: 1,
  eosId: 2,
  unkId: 0,
  padId: null,
  addsBos: true,
  chatTemplate: null,
  answerEndId: null,
};
const REORDERED = new Set(["llama", "baichuan", "mistral"]);
const FROZEN = { storage: "float32", trainable: false } as const;

async function writeModel(name: string, directory: string, file: string): Promise<Checkpoint> {
  const saved = await openCheckpoint(directory);
  const spec = { ...specOf(name), vocabularySize: 40 };
  await writeGguf(
    file,
    ggufFields(name, spec, PIECES, "F32"),
    ggufTensors(tensorsToWrite(saved.source), spec, "F32", file),
  );
  return saved;
}

describe.each(Object.keys(TINY_FAMILIES))("a %s model in GGUF", (name) => {
  it("is the folder that it was made from: configuration, tensors, logits", async () => {
    const ids = randomIds(createRandom(7), 9);
    const model = await tinyFamily(backend, name, { seed: 3 });
    const wanted = await sequenceLogits(model, ids);
    const directory = join(folder, name);
    await saveDecoder(model, directory, { dtype: "F32" });
    const file = join(folder, `${name}.gguf`);
    const saved = await writeModel(name, directory, file);
    const opened = await openCheckpoint(file);
    expect([...opened.source.tensors.keys()].sort()).toEqual([...saved.source.tensors.keys()].sort());
    for (const [tensor, { shape }] of saved.source.tensors) {
      expect(opened.source.tensors.get(tensor)?.shape).toEqual(shape);
      // Rows of the head were divided by their lengths once more.
      if (tensor === "lm_head.weight" && model.spec.normalizedHead) continue;
      expect(await opened.source.read(tensor)).toEqual(await saved.source.read(tensor));
      const rows = opened.source.rows?.(tensor);
      // Row by row where the file has the rows in this order, which llama.cpp's queries and keys are not.
      expect(rows === null).toBe(
        shape.length < 2 || (REORDERED.has(model.spec.family) && /[qk]_proj|W_pack/.test(tensor)),
      );
      if (!rows) continue;
      const chunks: Uint8Array[] = [];
      for await (const chunk of rows.chunks(0, shape[0], createChunkBuffers())) chunks.push(Buffer.from(chunk));
      expect(decodeElements(Buffer.concat(chunks), rows.dtype)).toEqual(await saved.source.read(tensor));
    }
    const loaded = await loadDecoder(backend, opened, FROZEN);
    await saved.source.close();
    await opened.source.close();
    const { normEpsilon, bosId: _bosId, family, ...spec } = model.spec;
    // A GGUF file does not tell a Mistral from a Llama, which compute the same.
    expect(loaded.spec.family).toBe(family === "mistral" ? "llama" : family);
    expect(loaded.spec).toMatchObject({ ...spec, normEpsilon: expect.closeTo(normEpsilon, 12) });
    const got = await sequenceLogits(loaded, ids);
    expect(Math.max(...Array.from(got, (value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-4);
  });
});

describe("what a GGUF file states", () => {
  const metadataOf = async (fields: readonly GgufField[]) => {
    const file = join(folder, "metadata.gguf");
    await writeGguf(file, fields, []);
    const { metadata, close } = await openGguf(file);
    await close();
    return metadata;
  };

  it("is a SentencePiece vocabulary, filled up to the model's size", async () => {
    const metadata = await metadataOf(ggufFields("tiny", { ...SPEC, vocabularySize: 6 }, PIECES, "Q8_0"));
    expect(metadata.get("tokenizer.ggml.model")).toBe("llama");
    expect(metadata.get("tokenizer.ggml.tokens")).toEqual(["<unk>", "<s>", "</s>", "中", "[PAD4]", "[PAD5]"]);
    expect(metadata.get("tokenizer.ggml.scores")).toEqual([0, 0, 0, -1, -10_000, -10_000]);
    expect(metadata.get("tokenizer.ggml.token_type")).toEqual([2, 3, 3, 1, 5, 5]);
    expect(metadata.get("tokenizer.ggml.bos_token_id")).toBe(1);
    expect(metadata.has("tokenizer.ggml.padding_token_id")).toBe(false);
    expect(metadata.get("general.file_type")).toBe(7);
  });

  it("is a byte-level vocabulary with its merges", async () => {
    const cutBy = { merges: ["a b"], words: "qwen2" };
    const vocabulary = { ...PIECES, texts: ["a", "b", "ab"], types: Uint8Array.of(1, 1, 1), cutBy };
    const metadata = await metadataOf(ggufFields("tiny", { ...SPEC, vocabularySize: 4 }, vocabulary, "F32"));
    expect(metadata.get("tokenizer.ggml.model")).toBe("gpt2");
    expect(metadata.get("tokenizer.ggml.pre")).toBe("qwen2");
    expect(metadata.get("tokenizer.ggml.merges")).toEqual(["a b"]);
    expect(metadata.get("tokenizer.ggml.tokens")).toEqual(["a", "b", "ab", "[PAD3]"]);
    expect(metadata.has("tokenizer.ggml.scores")).toBe(false);
  });

  it("is the rotated width of a head, and the layout that llama.cpp's converter notes", async () => {
    const chatglm = await metadataOf(ggufFields("tiny", specOf("chatglm2"), PIECES, "F32"));
    expect(chatglm.get("chatglm.rope.dimension_count")).toBe(4);
    const alibi = await metadataOf(ggufFields("tiny", specOf("baichuan2-13b"), PIECES, "F32"));
    expect(alibi.has("baichuan.rope.freq_base")).toBe(false);
    expect(alibi.get("baichuan.tensor_data_layout")).toBe("Meta AI original pth");
  });
});

describe("tensors of a GGUF file", () => {
  const of = (name: string, ...shape: number[]) => ({ name, dtype: "F32" as const, shape, values: async () => [] });

  it("keep vectors in float32 and rows that do not fill blocks in float16", () => {
    const given = [
      of("model.norm.weight", 64),
      of("lm_head.weight", 3, 64),
      of("model.layers.0.mlp.up_proj.weight", 4, 40),
    ];
    expect(ggufTensors(given, SPEC, "Q8_0", "x").map(({ name, type }) => [name, type])).toEqual([
      ["output_norm.weight", "F32"],
      ["output.weight", "Q8_0"],
      ["blk.0.ffn_up.weight", "F16"],
    ]);
    expect(() => ggufTensors([of("model.layers.0.self_attn.q_norm.weight", 4)], SPEC, "F16", "x")).toThrow(
      'tensor "model.layers.0.self_attn.q_norm.weight" has no place in a GGUF file of a llama model',
    );
  });

  it("have the rows of Baichuan2's head divided by their lengths", async () => {
    const head = { ...of("lm_head.weight", 2, 2), values: async () => [3, 4, 0, 0] };
    const [written] = ggufTensors([head], specOf("baichuan2-7b"), "F32", "x");
    expect(Array.from(await written.values())).toEqual([Math.fround(0.6), Math.fround(0.8), 0, 0]);
  });

  it("have W_pack read once for its three parts", async () => {
    let reads = 0;
    const values = async () => {
      reads++;
      return Float32Array.from({ length: 96 }, (_, i) => i);
    };
    const pack = { ...of("model.layers.0.self_attn.W_pack.weight", 96, 1), values };
    const parts = ggufTensors([pack], specOf("baichuan2-7b"), "F32", "x");
    expect(parts.map(({ name, shape }) => [name, shape])).toEqual(
      ["q", "k", "v"].map((part) => [`blk.0.attn_${part}.weight`, [32, 1]]),
    );
    for (const [i, part] of parts.entries()) {
      const [first, second] = Array.from(await part.values());
      // Rows i and i + 4 of a head are neighbours in queries and keys.
      expect([first, second]).toEqual(i === 2 ? [64, 65] : [32 * i, 32 * i + 4]);
    }
    expect(reads).toBe(1);
  });

  it("are refused where llama.cpp would leave out the positions", () => {
    expect(() => ggufTensors([], { ...specOf("baichuan2-7b"), layers: 2 }, "F32", "x")).toThrow(
      "a baichuan model with rotary positions has 2 layers, llama.cpp computes it only with 32",
    );
    expect(() => ggufTensors([], { ...specOf("baichuan2-13b"), layers: 32 }, "F32", "x")).toThrow(/only with 40/);
  });

  it("have names both ways", () => {
    const family = (name: string) => familyNamed(name, "x");
    const partsOf = (name: string, module: string) => ggufParts(family(name), module)?.map((part) => part.name) ?? null;
    expect(partsOf("llama", "model.layers.12.self_attn.o_proj")).toEqual(["blk.12.attn_output"]);
    expect(partsOf("llama", "model.rotary")).toBeNull();
    expect(partsOf("chatglm", "model.layers.0.mlp.up_proj")).toBeNull();
    expect(placeOf(family("llama"), "rope_freqs.weight")).toBeNull();
    expect(placeOf(family("llama"), "blk.0.attn_q_norm.weight")).toBeNull();
    for (const one of FAMILIES) {
      for (const name of ["token_embd", "blk.3.ffn_down", "blk.3.attn_norm", "output_norm"]) {
        const place = placeOf(one, `${name}.weight`);
        expect(place?.parts.map((part) => part.name)).toEqual([name]);
        expect(partsOf(one.modelType, place?.tensor.replace(/\.weight$/, "") ?? "")).toEqual([name]);
      }
    }
    expect(placeOf(family("qwen2"), "blk.0.attn_q.bias")).toEqual({
      tensor: "model.layers.0.self_attn.q_proj.bias",
      kind: "bias",
      parts: [{ name: "blk.0.attn_q", slots: ["q"] }],
    });
    expect(placeOf(family("baichuan"), "blk.1.attn_k.weight")).toEqual({
      tensor: "model.layers.1.self_attn.W_pack.weight",
      kind: "weight",
      parts: ["q", "k", "v"].map((slot) => ({ name: `blk.1.attn_${slot}`, slots: [slot] })),
    });
  });
});

describe("a GGUF model that is not computed here", () => {
  it.each<[string, GgufField[], string?]>([
    [
      '"general.architecture" is "gemma", expected one of llama, chatglm, baichuan, qwen2, qwen3',
      [{ key: "general.architecture", type: "string", value: "gemma" }],
    ],
    ['"general.type" is "adapter", expected "model"', [{ key: "general.type", type: "string", value: "adapter" }]],
    ['"split.count" is 2, expected one file', [{ key: "split.count", type: "uint32", value: 2 }]],
    ['"llama.expert_count" is 8, expected 0: it changes', [{ key: "llama.expert_count", type: "uint32", value: 8 }]],
    ...(
      [
        ["llama.rope.scaling.factor", 4, "expected 0 or 1"],
        ["llama.rope.scale_linear", 4, "expected 0 or 1"],
        ["llama.attention.scale", 0.5, "expected 0"],
        ["llama.attention.value_length", 4, "expected 8, as for keys"],
        ["llama.a_field_of_next_year", 2, "expected no such entry"],
      ] as const
    ).map(([key, value, expected]): [string, GgufField[]] => [
      `"${key}" is ${value}, ${expected}`,
      [{ key, type: "float32", value }],
    ]),
    [
      '"llama.rope.scaling.factor" is missing, expected a positive number',
      [{ key: "llama.rope.scaling.type", type: "string", value: "linear" }],
    ],
    [
      '"llama.rope.scaling.type" is "longrope"',
      [{ key: "llama.rope.scaling.type", type: "string", value: "longrope" }],
    ],
    [
      '"llama.rope.dimension_count" is 2, expected 8',
      [{ key: "llama.rope.dimension_count", type: "uint32", value: 2 }],
    ],
    [
      '"llama.attention.head_count_kv" is [2,2]',
      [{ key: "llama.attention.head_count_kv", type: "uint32", value: [2, 2] }],
    ],
    [
      '"chatglm.rope.dimension_count" is 8, expected 4',
      [{ key: "chatglm.rope.dimension_count", type: "uint32", value: 8 }],
      "chatglm2",
    ],
    [
      "rotaryBase is 50000, but chatglm models have 10000 here",
      [{ key: "chatglm.rope.freq_base", type: "float32", value: 50_000 }],
      "chatglm2",
    ],
    [
      '"baichuan.block_count" is 2, expected 32 (rotary positions) or 40 (ALiBi)',
      [{ key: "baichuan.block_count", type: "uint32", value: 2 }],
      "baichuan2-7b",
    ],
  ])("is refused: %s", async (message, changes, name = "llama") => {
    const file = join(folder, "refused.gguf");
    const changed = new Set(changes.map(({ key }) => key));
    const fields = ggufFields("tiny", specOf(name), PIECES, "F32").filter(({ key }) => !changed.has(key));
    await writeGguf(file, [...fields, ...changes], []);
    const error = await openCheckpoint(file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect((error as UserErrors).message).toContain(message);
  });

  it("is reported where queries have no whole number of rows", async () => {
    const file = join(folder, "rows.gguf");
    const values = async () => new Float32Array(33);
    const fields = ggufFields("tiny", SPEC, PIECES, "F32");
    await writeGguf(file, fields, [{ name: "blk.0.attn_q.weight", type: "F32", shape: [33, 1], values }]);
    const { source } = await openCheckpoint(file);
    await expect(source.read("model.layers.0.self_attn.q_proj.weight")).rejects.toThrow(
      '"blk.0.attn_q.weight" has 33 values, which are no 32 rows.',
    );
    await source.close();
  });
});

describe("a LoRA adapter in GGUF", () => {
  const config = {
    rank: 1,
    alpha: 8,
    dropout: 0,
    scaling: "lora" as const,
    hasMagnitudes: false,
    targetModules: ["q_proj"],
    baseModel: null,
  };
  const pair = (module: string, columns: number, rows: number) =>
    (["A", "B"] as const).map((half) => ({
      name: `base_model.model.${module}.lora_${half}.weight`,
      dtype: "F32" as const,
      shape: half === "A" ? [1, columns] : [rows, 1],
      values: async () => Float32Array.from({ length: half === "A" ? columns : rows }, (_, i) => i),
    }));

  it("has llama.cpp's names, and rows of b as those of its base", async () => {
    const { fields, tensors } = ggufLora(config, pair("model.layers.1.self_attn.q_proj", 4, 32), SPEC, "x");
    expect(fields.map(({ key, value }) => [key, value])).toEqual([
      ["general.architecture", "llama"],
      ["general.type", "adapter"],
      ["adapter.type", "lora"],
      ["adapter.lora.alpha", 8],
    ]);
    expect(tensors.map(({ name }) => name)).toEqual(["blk.1.attn_q.weight.lora_a", "blk.1.attn_q.weight.lora_b"]);
    expect(Array.from(await tensors[0].values())).toEqual([0, 1, 2, 3]);
    expect(Array.from(await tensors[1].values()).slice(0, 8)).toEqual([0, 4, 1, 5, 2, 6, 3, 7]);
    expect(() => ggufLora(config, pair("x", 1, 1), SPEC, "x")).toThrow("has no place in an adapter of a llama model");
  });

  it("gives a to every part of W_pack and splits b", async () => {
    const given = pair("model.layers.0.self_attn.W_pack", 4, 96);
    const { tensors } = ggufLora(config, given, specOf("baichuan2-7b"), "x");
    expect(tensors.map(({ name, shape }) => [name.slice(6), shape])).toEqual([
      ...["q", "k", "v"].map((part) => [`attn_${part}.weight.lora_a`, [1, 4]]),
      ...["q", "k", "v"].map((part) => [`attn_${part}.weight.lora_b`, [32, 1]]),
    ]);
    const values: number[][] = [];
    for (const { values: read } of tensors) values.push(Array.from(await read()));
    expect(values.slice(0, 3)).toEqual([0, 1, 2].map(() => [0, 1, 2, 3]));
    expect(values.slice(3).map(([first, second]) => [first, second])).toEqual([
      [0, 4],
      [32, 36],
      [64, 65],
    ]);
  });

  it("keeps ChatGLM2's fused matrices", () => {
    const given = pair("transformer.encoder.layers.0.self_attention.query_key_value", 32, 64);
    const { tensors } = ggufLora(config, given, specOf("chatglm2"), "x");
    expect(tensors.map(({ name }) => name)).toEqual(["blk.0.attn_qkv.weight.lora_a", "blk.0.attn_qkv.weight.lora_b"]);
  });
});
