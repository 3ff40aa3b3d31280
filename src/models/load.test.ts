import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { TINY_FAMILIES } from "../../test/tiny-families.ts";
import { TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { attachLora, detachLora } from "../adapters/lora-weights.ts";
import { UserError, UserErrors } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { createTensorChecks } from "../formats/tensor-checks.ts";
import type { TensorInfo } from "../formats/tensor-source.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { type Decoder, decoderWeights, freeDecoder } from "./decoder.ts";
import { llama } from "./families/llama.ts";
import { hashName, initDecoder, normalValues } from "./init.ts";
import { loadDecoder } from "./load.ts";
import { saveDecoder } from "./save.ts";
import type { DecoderSpec } from "./spec.ts";
import { modelTensors } from "./tensors.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-load-"));
afterAll(() => rmSync(folder, { recursive: true }));

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const FROZEN = { storage: "float32", trainable: false } as const;

/** A checkpoint in memory whose tensors are all 1 but for the changes; a change to null removes a tensor. */
function checkpointOf(spec: DecoderSpec, changes: Record<string, number[] | null> = {}): Checkpoint {
  const shapes = new Map<string, readonly number[]>(modelTensors(spec, llama).map(({ name, shape }) => [name, shape]));
  for (const [name, shape] of Object.entries(changes)) {
    if (shape) shapes.set(name, shape);
    else shapes.delete(name);
  }
  const tensors = new Map(
    [...shapes].map(([name, shape]): [string, TensorInfo] => [
      name,
      { name, shape, dtype: "F32", file: "x.safetensors" },
    ]),
  );
  const read = async (name: string) =>
    new Float32Array((tensors.get(name) as TensorInfo).shape.reduce((a, b) => a * b, 1)).fill(1);
  return {
    directory: "models/x",
    config: llama.writeConfig(spec),
    source: { tensors, checks: createTensorChecks(), read, close: async () => {} },
  };
}

async function problemsOf(spec: DecoderSpec, changes: Record<string, number[] | null>): Promise<readonly string[]> {
  const error = await loadDecoder(backend, checkpointOf(spec, changes), FROZEN).catch((thrown) => thrown);
  expect(backend.memory().weights).toBe(error instanceof Error ? 0 : 2 * 9 + (spec.tiedHead ? 2 : 3));
  if (!(error instanceof Error)) return [];
  expect(error).toBeInstanceOf(UserErrors);
  expect(error.message.startsWith("models/x: the tensors do not fit config.json:\n")).toBe(true);
  return (error as UserErrors).problems;
}

async function valuesOf(model: Decoder): Promise<Record<string, number[]>> {
  const values: Record<string, number[]> = {};
  for (const weight of decoderWeights(model)) values[weight.name] = Array.from(await backend.readWeight(weight));
  return values;
}

describe("loadDecoder", () => {
  it("reports missing, misshapen and unknown tensors together, before anything is read", async () => {
    const changes = {
      "model.layers.1.mlp.up_proj.weight": null,
      "model.layers.0.self_attn.q_proj.weight": [16, 17],
      "model.norm.weight": [16, 1],
      "model.layers.2.input_layernorm.weight": [16],
      "model.layers.0.self_attn.q_proj.bias": [16],
    };
    expect(await problemsOf(TINY_SPEC, changes)).toEqual([
      '"model.layers.0.self_attn.q_proj.weight" is [16,17], expected [16,16]',
      'tensor "model.layers.1.mlp.up_proj.weight" is missing',
      '"model.norm.weight" is [16,1], expected [16]',
      'tensor "model.layers.2.input_layernorm.weight" is not part of a llama model',
      'tensor "model.layers.0.self_attn.q_proj.bias" is not part of a llama model',
    ]);
  });

  it("ignores what carries nothing: rotary tables, a copy of a tied head", async () => {
    const table = { "model.layers.1.self_attn.rotary_emb.inv_freq": [2] };
    expect(await problemsOf(TINY_SPEC, table)).toEqual([]);
    backend = openReference();
    expect(await problemsOf({ ...TINY_SPEC, tiedHead: true }, { "lm_head.weight": [40, 16] })).toEqual([]);
    backend = openReference();
    expect(await problemsOf(TINY_SPEC, { "lm_head.weight": null })).toEqual(['tensor "lm_head.weight" is missing']);
  });

  it("keeps norms in float32, the rest as told, and says how far it is", async () => {
    const progress: string[] = [];
    const model = await loadDecoder(backend, checkpointOf(TINY_SPEC), {
      storage: "bfloat16",
      trainable: true,
      onProgress: (done, total) => progress.push(`${done}/${total}`),
    });
    expect(progress).toHaveLength(21);
    expect([progress[0], progress[20]]).toEqual(["1/21", "21/21"]);
    for (const weight of decoderWeights(model)) {
      expect(weight.storage).toBe(weight.rows === 1 ? "float32" : "bfloat16");
      expect(weight.trainable).toBe(true);
    }
    freeDecoder(model);
    expect(backend.memory()).toMatchObject({ weights: 0, bytes: 0 });
  });

  it("keeps embedding and head in bfloat16 when the layers are quantised", async () => {
    for (const storage of ["int8", "nf4"] as const) {
      const model = await loadDecoder(backend, checkpointOf(TINY_SPEC), { storage, trainable: false });
      for (const weight of [model.embedding, model.head.weight]) expect(weight.storage).toBe("bfloat16");
      expect(model.finalNorm.storage).toBe("float32");
      for (const { attentionNorm, q, down } of model.layers) {
        expect([attentionNorm.storage, q.weight.storage, down.weight.storage]).toEqual(["float32", storage, storage]);
      }
      freeDecoder(model);
    }
  });

  it("frees what it placed when a tensor cannot be read", async () => {
    const checkpoint = checkpointOf(TINY_SPEC);
    const { read } = checkpoint.source;
    let count = 0;
    checkpoint.source.read = (name) =>
      ++count === 7 ? Promise.reject(new UserError("cut short")) : read.call(checkpoint.source, name);
    await expect(loadDecoder(backend, checkpoint, FROZEN)).rejects.toThrow("cut short");
    expect(backend.memory()).toMatchObject({ weights: 0, bytes: 0 });
  });

  it("reads matrices in chunks of rows where the source has them, and frees what it placed when one is cut short", async () => {
    const saved = join(folder, "chunks");
    const original = await tinyDecoder(backend, { seed: 8 });
    await saveDecoder(original, saved, { dtype: "F32" });
    const { directory, config, source } = await openCheckpoint(saved);
    const asked: string[] = [];
    const read = (name: string) => {
      asked.push(name);
      return source.read(name);
    };
    const watched: Checkpoint = { directory, config, source: { ...source, read } };
    const whole: Checkpoint = { directory, config, source: { ...source, rows: undefined } };
    const [inRuns, atOnce] = [await loadDecoder(backend, watched, FROZEN), await loadDecoder(backend, whole, FROZEN)];
    expect(asked.every((name) => name.includes("norm"))).toBe(true);
    expect(await valuesOf(inRuns)).toEqual(await valuesOf(original));
    expect(await valuesOf(atOnce)).toEqual(await valuesOf(original));
    for (const model of [original, inRuns, atOnce]) freeDecoder(model);
    truncateSync(join(saved, "model.safetensors"), 9000);
    await expect(loadDecoder(backend, watched, FROZEN)).rejects.toThrow(
      "model.safetensors: ends at byte 9000, expected",
    );
    expect(backend.memory()).toMatchObject({ weights: 0, bytes: 0 });
    await source.close();
  });

  it("refuses other families by name", async () => {
    const checkpoint = { ...checkpointOf(TINY_SPEC), config: { model_type: "gpt2" } };
    await expect(loadDecoder(backend, checkpoint, FROZEN)).rejects.toThrow(
      'models/x: model_type is "gpt2", supported: llama, chatglm, baichuan, qwen2, qwen3, mistral, glm.',
    );
  });
});

describe("initDecoder", () => {
  const spec: DecoderSpec = { ...TINY_SPEC, vocabularySize: 500, width: 64, headWidth: 16, feedForward: 96, layers: 3 };

  it("gives the same weights for the same seed, whatever else the model has", async () => {
    const first = await valuesOf(await initDecoder(backend, spec, 1, FROZEN));
    expect(await valuesOf(await initDecoder(backend, spec, 1, FROZEN))).toEqual(first);
    const other = await valuesOf(await initDecoder(backend, spec, 2, FROZEN));
    for (const [name, values] of Object.entries(first)) {
      if (name.includes("norm")) expect(values.every((value) => value === 1)).toBe(true);
      else expect(other[name]).not.toEqual(values);
    }
    const wider = await valuesOf(await initDecoder(backend, { ...spec, vocabularySize: 600, layers: 3 }, 1, FROZEN));
    const name = "model.layers.1.mlp.up_proj.weight";
    expect(wider[name]).toEqual(first[name]);
    expect(new Set(Object.values(first).map((values) => values[0])).size).toBe(3 * 7 + 2 + 1);
  });

  it("draws normal numbers of deviation 0.02, smaller where they add to the residual stream", async () => {
    const values = await valuesOf(await initDecoder(backend, spec, 3, FROZEN));
    for (const [name, weights] of Object.entries(values)) {
      if (name.includes("norm")) continue;
      const wanted = /o_proj|down_proj/.test(name) ? 0.02 / Math.sqrt(6) : 0.02;
      const deviation = Math.sqrt(weights.reduce((sum, value) => sum + value * value, 0) / weights.length);
      const mean = weights.reduce((sum, value) => sum + value, 0) / weights.length;
      // 5 standard errors of the two estimates.
      expect(Math.abs(deviation / wanted - 1)).toBeLessThan(5 / Math.sqrt(2 * weights.length));
      expect(Math.abs(mean / wanted)).toBeLessThan(5 / Math.sqrt(weights.length));
    }
  });

  it("never changes what a seed means", async () => {
    expect(hashName("model.norm.weight")).toBe(0xbe0496c4);
    const [a, b] = normalValues(7, 2, 0.5);
    expect(a).toBeCloseTo(0.4534388181453372 / 2, 7);
    expect(b).toBeCloseTo(-0.26660666236073843 / 2, 7);
  });
});

describe("saveDecoder", () => {
  const load = async (directory: string): Promise<Decoder> => {
    const checkpoint = await openCheckpoint(directory);
    try {
      return await loadDecoder(backend, checkpoint, FROZEN);
    } finally {
      await checkpoint.source.close();
    }
  };

  it.each([true, false])("saves what loads again (tied head: %s)", async (tiedHead) => {
    const model = await tinyDecoder(backend, { seed: 4, spec: { tiedHead } });
    await saveDecoder(model, join(folder, "whole"), { dtype: "F32" });
    const loaded = await load(join(folder, "whole"));
    expect(loaded.spec).toEqual(model.spec);
    expect(loaded.head.weight === loaded.embedding).toBe(tiedHead);
    expect(await valuesOf(loaded)).toEqual(await valuesOf(model));
  });

  it.each(["llama", "chatglm", "baichuan", "qwen2", "qwen3"])(
    "says how prompts were read, if not causally: %s",
    async (family) => {
      const name = Object.keys(TINY_FAMILIES).find((one) => TINY_FAMILIES[one].family === family) as string;
      const spec = { ...TINY_FAMILIES[name], layers: 1, promptAttention: "both" } as const;
      const directory = join(folder, `both-${family}`);
      const model = await initDecoder(backend, spec, 1, FROZEN);
      await saveDecoder(model, directory, { dtype: "F32" });
      const loaded = await load(directory);
      expect(loaded.spec.promptAttention).toBe("both");
      const checkpoint = await openCheckpoint(directory);
      const causal = await loadDecoder(backend, checkpoint, { ...FROZEN, promptAttention: "causal" });
      await checkpoint.source.close();
      expect(causal.spec).toEqual({ ...loaded.spec, promptAttention: "causal" });
      await saveDecoder(causal, directory, { dtype: "F32" });
      expect(readFileSync(join(directory, "config.json"), "utf8")).not.toContain("prompt_attention");
    },
  );

  it.each([
    ["F32", "float32", 0],
    ["BF16", "bfloat16", 2 ** -8],
    ["F16", "float16", 2 ** -11],
  ] as const)("saves as %s", async (dtype, torch, error) => {
    const model = await tinyDecoder(backend, { seed: 5 });
    const directory = join(folder, dtype);
    await saveDecoder(model, directory, { dtype });
    expect(JSON.parse(readFileSync(join(directory, "config.json"), "utf8")).torch_dtype).toBe(torch);
    const [wanted, got] = [await valuesOf(model), await valuesOf(await load(directory))];
    for (const [name, values] of Object.entries(wanted)) {
      for (const [i, value] of values.entries()) {
        expect(Math.abs(got[name][i] - value)).toBeLessThanOrEqual(Math.abs(value) * error + 2 ** -24);
      }
    }
  });

  it("reorders interleaved rotary pairs into halves, head by head", async () => {
    const positions = { kind: "rotary", base: 10_000, layout: "interleaved", rotatedWidth: 4 } as const;
    const model = await tinyDecoder(backend, { seed: 6, spec: { positions } });
    await saveDecoder(model, join(folder, "reordered"), { dtype: "F32" });
    const loaded = await load(join(folder, "reordered"));
    expect(loaded.spec.positions).toMatchObject({ layout: "halves" });
    const [before, after] = [await valuesOf(model), await valuesOf(loaded)];
    const rowsOf = (values: number[]) =>
      Array.from({ length: values.length / 16 }, (_, i) => values.slice(16 * i, 16 * i + 16));
    for (const [name, values] of Object.entries(before)) {
      if (!/[qk]_proj/.test(name)) {
        expect(after[name]).toEqual(values);
        continue;
      }
      const wanted = rowsOf(values);
      for (let head = 0; head < wanted.length; head += 4) {
        [wanted[head + 1], wanted[head + 2]] = [wanted[head + 2], wanted[head + 1]];
      }
      expect(rowsOf(after[name])).toEqual(wanted);
    }
  });

  it("does not lose an adapter silently", async () => {
    const model = await tinyDecoder(backend, { seed: 4 });
    attachLora(model, { rank: 2, alpha: 4, dropout: 0, targets: ["down_proj"] }, 1);
    const directory = join(folder, "adapted");
    await expect(saveDecoder(model, directory, { dtype: "F32" })).rejects.toThrow("merge or detach it first");
    expect(existsSync(directory)).toBe(false);
    detachLora(model);
    await saveDecoder(model, directory, { dtype: "F32" });
    expect(existsSync(join(directory, "config.json"))).toBe(true);
  });

  it("does not save what lost digits by its storage", async () => {
    const model = await tinyDecoder(backend, { seed: 4 });
    model.layers[1].up = { weight: { ...model.layers[1].up.weight, storage: "int8" }, bias: null, lowRank: null };
    await expect(saveDecoder(model, join(folder, "int8"), { dtype: "F32" })).rejects.toThrow(
      '"model.layers.1.mlp.up_proj.weight" is kept as int8 and cannot be saved without loss.',
    );
  });
});

describe("an output layer next to a tied embedding", () => {
  const spec = { ...TINY_SPEC, tiedHead: true };
  const withHead = (value: (name: string, i: number) => number): Checkpoint => {
    const shape = [spec.vocabularySize, spec.width];
    const checkpoint = checkpointOf(spec, { [llama.names.head]: shape });
    const read = async (name: string) => (await checkpoint.source.read(name)).map((_, i) => value(name, i));
    return { ...checkpoint, source: { ...checkpoint.source, read } };
  };

  it("is accepted when it is equal, and refused by name when one number differs", async () => {
    const load = (checkpoint: Checkpoint) => loadDecoder(backend, checkpoint, FROZEN);
    freeDecoder(await load(withHead((_, i) => i % 7)));
    const other = withHead((name, i) => (i % 7) + (name === llama.names.head && i === 40 ? 1 : 0));
    await expect(load(other)).rejects.toThrow(
      'models/x: config.json sets tie_word_embeddings, but "lm_head.weight" in x.safetensors is not equal to "model.embed_tokens.weight".',
    );
    expect(backend.memory().weights).toBe(0);
  });

  it("is compared in files, chunk by chunk", async () => {
    const model = await initDecoder(backend, { ...spec, tiedHead: false }, 1, FROZEN);
    const to = join(folder, "two-heads");
    await saveDecoder(model, to, { dtype: "F32" });
    const file = join(to, "config.json");
    writeFileSync(
      file,
      readFileSync(file, "utf8").replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'),
    );
    const checkpoint = await openCheckpoint(to);
    await expect(loadDecoder(backend, checkpoint, FROZEN)).rejects.toThrow(
      `but "lm_head.weight" in ${to}/model.safetensors`,
    );
    await checkpoint.source.close();
  });
});
