import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { worstOf } from "../../test/golden/backends.ts";
import { randomIds, sequenceLogits, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { Backend, Weight } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { specFromSizes } from "../models/sizes.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { TINY_MODELS } from "../models/tiny.ts";
import { loadLora, saveLora } from "./lora-files.ts";
import { defaultTargets } from "./lora-modules.ts";
import { attachLora, detachLora, type LoraSettings, loraWeights, mergeLora } from "./lora-weights.ts";

// Adapters of modules that checkpoints keep as one matrix: one a for queries, keys and values, each with its rows of b.

const root = mkdtempSync(join(tmpdir(), "cre-fused-"));
afterAll(() => rmSync(root, { recursive: true }));

const SETTINGS: LoraSettings = { rank: 3, alpha: 6, dropout: 0, targets: "all" };
const FUSED = ["chatglm2", "baichuan2-7b", "baichuan2-13b"] as const;
const IDS = randomIds(createRandom(2), 7);

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float64" });
});
afterEach(() => backend.close());

function smallSpec(name: string): DecoderSpec {
  const model = TINY_MODELS[name];
  const sizes = { ...model, width: model.width / 4, feedForward: 20, vocabularyMultiple: 1 };
  return specFromSizes(sizes, { vocabularySize: 40, bosId: null, eosId: 2 }, name);
}

const smallModel = (name: string) => tinyDecoder(backend, { seed: 5, spec: smallSpec(name), deviation: 0.4 });

function fill(weights: readonly Weight[], seed = 1): void {
  const random = createRandom(seed);
  for (const weight of weights) {
    const length = weight.rows * weight.columns;
    const values = Float64Array.from({ length }, () => random.normal() * 0.3);
    backend.writeWeight(weight, values);
  }
}

/** The loss of the sequence and, where it is recorded, its gradients. */
async function lossOf(model: Decoder, record: boolean): Promise<number> {
  const tape = createTape(backend, { record });
  try {
    const length = IDS.length - 1;
    const logits = forward(model, tape, {
      ids: Int32Array.from(IDS.slice(0, -1)),
      segments: [{ start: 0, length, keyStart: 0, position: 0, context: [] }],
    });
    const weights = new Float32Array(length).fill(1 / length);
    const loss = tape.crossEntropy(logits, Int32Array.from(IDS.slice(1)), weights);
    const [value] = await backend.read(loss.tensor);
    if (record) tape.backward(loss);
    return value;
  } finally {
    tape.dispose();
  }
}

async function gradientsOf(model: Decoder, weights: readonly Weight[]): Promise<number[][]> {
  backend.zeroGradients(weights);
  await lossOf(model, true);
  return Promise.all(weights.map(async (weight) => Array.from(await backend.readWeight(weight, "gradient"))));
}

describe.each(FUSED)("an adapter of %s", (name) => {
  it("has the gradients of finite differences", async () => {
    const model = await smallModel(name);
    attachLora(model, SETTINGS, 3);
    const weights = loraWeights(model);
    fill(weights);
    const gradients = await gradientsOf(model, weights);
    const random = createRandom(9);
    for (const [w, weight] of weights.entries()) {
      const values = Float64Array.from(await backend.readWeight(weight));
      for (let trial = 0; trial < 3; trial++) {
        const i = random.below(values.length);
        const at = async (change: number) => {
          backend.writeWeight(weight, values.with(i, values[i] + change));
          return lossOf(model, false);
        };
        const difference = ((await at(1e-4)) - (await at(-1e-4))) / 2e-4;
        backend.writeWeight(weight, values);
        expect(Math.abs(gradients[w][i] - difference)).toBeLessThan(1e-6 + 1e-4 * Math.abs(difference));
      }
    }
  });

  it("is one of PEFT's for each module, and comes back from its folder", async () => {
    const model = await smallModel(name);
    const spec = model.spec;
    attachLora(model, { ...SETTINGS, targets: "auto" }, 3);
    fill(loraWeights(model));
    const adapted = await sequenceLogits(model, IDS);
    const folder = join(root, name);
    await saveLora(model, SETTINGS, folder, null);
    const file = await openSafetensors(join(folder, "adapter_model.safetensors"));
    const module =
      name === "chatglm2"
        ? "transformer.encoder.layers.1.self_attention.query_key_value"
        : "model.layers.1.self_attn.W_pack";
    const rows = (spec.heads + 2 * spec.keyValueHeads) * spec.headWidth;
    const shapes = [...file.tensors.values()].map((tensor) => [tensor.name, [...tensor.shape]]);
    expect(shapes.slice(2)).toEqual([
      [`base_model.model.${module}.lora_A.weight`, [3, spec.width]],
      [`base_model.model.${module}.lora_B.weight`, [rows, 3]],
    ]);
    await file.close();
    const [a, ...bs] = loraWeights(model);
    expect(bs.slice(0, 3).map((weight) => weight.rows)).toEqual([
      spec.heads * spec.headWidth,
      spec.keyValueHeads * spec.headWidth,
      spec.keyValueHeads * spec.headWidth,
    ]);
    expect(model.layers[0].v.lowRank?.a).toBe(a);
    const held = backend.memory().weights;
    detachLora(model);
    expect(backend.memory().weights).toBe(held - 2 * 4);
    expect((await loadLora(model, folder)).targets).toEqual(defaultTargets(spec.family));
    expect(worstOf(await sequenceLogits(model, IDS), adapted).difference).toBeLessThan(1e-5);
  });

  it("merges to the same model in memory and file by file", async () => {
    const model = await smallModel(name);
    const base = join(root, `${name}-base`);
    await saveDecoder(model, base, { dtype: "F32" });
    const reload = async (directory: string) => {
      const checkpoint = await openCheckpoint(directory);
      const loaded = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
      await checkpoint.source.close();
      return loaded;
    };
    const loaded = await reload(base);
    attachLora(loaded, SETTINGS, 3);
    fill(loraWeights(loaded));
    const adapter = join(root, `${name}-adapter`);
    await saveLora(loaded, SETTINGS, adapter, null);
    const adapted = await sequenceLogits(loaded, IDS);
    await mergeLora(loaded);
    expect(loraWeights(loaded)).toEqual([]);
    expect(worstOf(await sequenceLogits(loaded, IDS), adapted).difference).toBeLessThan(1e-9);
    const [checkpoint, peft] = [await openCheckpoint(base), await openPeftFolder(adapter)];
    const merged = join(root, `${name}-merged`);
    const tensors = mergeLoraInto(tensorsToWrite(checkpoint.source), peft, merged);
    await saveHuggingFaceFolder(merged, { ...checkpoint.config }, tensors);
    await checkpoint.source.close();
    await peft.tensors.close();
    expect(worstOf(await sequenceLogits(await reload(merged), IDS), adapted).difference).toBeLessThan(1e-4);
  });
});

it("drops the same inputs for all parts of a module", async () => {
  const model = await smallModel("chatglm2");
  attachLora(model, { ...SETTINGS, dropout: 0.5 }, 3);
  fill(loraWeights(model));
  const { dropout } = backend;
  let count = 0;
  backend.dropout = (...operands) => {
    count++;
    return dropout.apply(backend, operands);
  };
  await lossOf(model, true);
  // Four modules in each of two layers, and backward all but the first one, whose input is the frozen embedding.
  expect(count).toBe(8 + 7);
});

it("shares a between the parts: its gradient is the sum of what adapters of their own would have", async () => {
  const model = await smallModel("baichuan2-7b");
  attachLora(model, { ...SETTINGS, targets: ["W_pack"] }, 3);
  const weights = loraWeights(model);
  fill(weights);
  const [shared, ...parts] = await gradientsOf(model, weights);
  const layer = model.layers[0];
  const values = await backend.readWeight(weights[0]);
  const twins = [layer.q, layer.k, layer.v].map((linear, i) => {
    if (!linear.lowRank) throw new Error("no adapter");
    const { rows, columns, storage } = linear.lowRank.a;
    const a = backend.weight({ name: `a${i}`, rows, columns, storage, trainable: true }, values);
    linear.lowRank = { ...linear.lowRank, a };
    return a;
  });
  const apart = await gradientsOf(model, [...twins, ...weights]);
  const sum = apart[0].map((value, i) => value + apart[1][i] + apart[2][i]);
  expect(worstOf(shared, sum).difference).toBeLessThan(1e-12);
  for (const [i, part] of parts.slice(0, 3).entries())
    expect(worstOf(part, apart[4 + i]).difference).toBeLessThan(1e-12);
});

describe("targets by family", () => {
  it("are those of the authors' commands", () => {
    expect(defaultTargets("chatglm")).toEqual(["query_key_value"]);
    expect(defaultTargets("baichuan")).toEqual(["W_pack"]);
    for (const family of ["llama", "qwen2", "qwen3"]) expect(defaultTargets(family)).toEqual(["q_proj", "v_proj"]);
  });

  it("are named as the family's checkpoints name them", async () => {
    const model = await smallModel("chatglm2");
    const wrong = { ...SETTINGS, targets: ["q_proj", "dense_h_to_4"] };
    expect(() => attachLora(model, wrong, 1)).toThrow(
      '"dense_h_to_4" is not a module of a chatglm model, did you mean "dense_h_to_4h"?',
    );
    expect(() => attachLora(model, wrong, 1)).toThrow(
      '"q_proj" is not a module of a chatglm model, expected query_key_value, dense, dense_h_to_4h, dense_4h_to_h, or "all"',
    );
  });
});
