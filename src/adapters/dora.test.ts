import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { worstOf } from "../../test/golden/backends.ts";
import { lossAndGradients, packed } from "../../test/golden/loss-and-gradients.ts";
import { TINY_FAMILIES } from "../../test/tiny-families.ts";
import { randomIds, sequenceLogits, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder } from "../formats/peft-folder.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { type Decoder, freeDecoder } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { dora } from "./dora.ts";
import { loadLora, saveLora } from "./lora-files.ts";
import { detachLora, loraWeights, mergeLora } from "./lora-weights.ts";
import { weightsOf } from "./method.ts";
import { attachAdapter } from "./methods.ts";

const root = mkdtempSync(join(tmpdir(), "cre-dora-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;
const newFolder = () => join(root, String(count++));

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float64" });
});
afterEach(() => backend.close());

const SETTINGS = dora.schema.parse({ method: "dora", rank: 3, alpha: 6, targets: "all" });
const IDS = randomIds(createRandom(1), 9);
const BATCH = packed({ sequences: [IDS, IDS.slice(3)], promptTokens: [2, 1] });

const logitsOf = (model: Decoder) => sequenceLogits(model, IDS);

async function expectSame(got: Promise<ArrayLike<number>>, wanted: ArrayLike<number>, tolerance: number) {
  expect(worstOf(await got, wanted)).toSatisfy(({ difference }) => difference < tolerance);
}

/** Gives the adapter weights that do something. */
async function fill(model: Decoder): Promise<void> {
  const random = createRandom(3);
  for (const weight of loraWeights(model)) {
    const values = await backend.readWeight(weight);
    const isMagnitude = weight.name.includes("magnitude");
    backend.writeWeight(
      weight,
      Float64Array.from(values, (value) => (isMagnitude ? value * (1 + 0.3 * random.normal()) : 0.3 * random.normal())),
    );
  }
}

const familyModel = (name: string) =>
  tinyDecoder(backend, { seed: 5, spec: { ...TINY_FAMILIES[name], layers: 2 }, deviation: 0.25 });

async function adaptedFamily(name: string): Promise<Decoder> {
  const model = await familyModel(name);
  await attachAdapter(model, SETTINGS, 7);
  await fill(model);
  return model;
}

async function reload(directory: string): Promise<Decoder> {
  const checkpoint = await openCheckpoint(directory);
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  } finally {
    await checkpoint.source.close();
  }
}

describe("attaching", () => {
  it("leaves the model as it is, and detaching leaves nothing", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [before, base] = [backend.memory(), await logitsOf(model)];
    const [group] = await attachAdapter(model, SETTINGS, 7);
    await expectSame(logitsOf(model), base, 1e-12);
    expect(group.weights).toEqual(loraWeights(model));
    await fill(model);
    expect(worstOf(await logitsOf(model), base).difference).toBeGreaterThan(0.1);
    detachLora(model);
    expect(await logitsOf(model)).toEqual(base);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: before.weights, bytes: before.bytes });
  });

  it("frees everything with the model, the divisors too", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachAdapter(model, SETTINGS, 7);
    await logitsOf(model);
    expect(backend.memory().tensors).toBe(2 * 7);
    freeDecoder(model);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0, bytes: 0 });
  });

  it("starts magnitudes at the lengths of rows, and counts its numbers", async () => {
    const model = await familyModel("chatglm2");
    const groups = await attachAdapter(model, SETTINGS, 7);
    const { weight, lowRank } = model.layers[1].k;
    const [w, m] = await Promise.all([weight, lowRank!.magnitude!.weight].map((one) => backend.readWeight(one)));
    for (const [o, length] of m.entries()) {
      expect(length).toBeCloseTo(Math.hypot(...w.subarray(o * weight.columns, (o + 1) * weight.columns)), 10);
    }
    expect(lowRank!.magnitude!.weight.name).toBe(
      "transformer.encoder.layers.1.self_attention.query_key_value.lora_magnitude_vector:k",
    );
    const added = weightsOf(groups).reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    expect(added).toBe(dora.addedNumbers(SETTINGS, model.spec));
  });

  it.each(["int8", "nf4"] as const)("takes the lengths of a base in %s as products read it", async (storage) => {
    const model = await initDecoder(backend, TINY_SPEC, 1, { storage, trainable: false, deviation: 0.3 });
    const base = await logitsOf(model);
    await attachAdapter(model, SETTINGS, 7);
    await expectSame(logitsOf(model), base, 1e-12);
    await expect(mergeLora(model)).rejects.toThrow(`is kept as ${storage}: an adapter cannot be merged`);
  });
});

describe("training", () => {
  it("computes the divisors again when a weight has changed, and only then", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachAdapter(model, SETTINGS, 7);
    await fill(model);
    const first = await logitsOf(model);
    const { rowNorms } = backend;
    let computed = 0;
    backend.rowNorms = (x) => {
      computed++;
      return rowNorms.call(backend, x);
    };
    expect(await logitsOf(model)).toEqual(first);
    expect(computed).toBe(0);
    const { b } = model.layers[0].q.lowRank!;
    backend.writeWeight(
      b,
      (await backend.readWeight(b)).map((value) => 2 * value),
    );
    const changed = await logitsOf(model);
    expect(computed).toBe(1);
    // Another model with the same numbers.
    await saveLora(model, SETTINGS, newFolder(), null);
    const other = await tinyDecoder(backend, { seed: 1 });
    await loadLora(other, join(root, String(count - 1)));
    await expectSame(logitsOf(other), changed, 1e-5);
  });

  it("gives the same gradients with recomputed layers", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [{ weights }] = await attachAdapter(model, SETTINGS, 7);
    await fill(model);
    const gradients = async (recompute: boolean) => {
      backend.zeroGradients(weights);
      await lossAndGradients(model, BATCH, recompute);
      return Promise.all(weights.map(async (weight) => Array.from(await backend.readWeight(weight, "gradient"))));
    };
    expect(await gradients(true)).toEqual(await gradients(false));
  });

  it.each(["chatglm2", "qwen2", "qwen3"])(
    "has the gradients of finite differences by the magnitudes: %s",
    async (name) => {
      const model = await adaptedFamily(name);
      const weights = loraWeights(model).filter((weight) => weight.name.includes("magnitude"));
      backend.zeroGradients(loraWeights(model));
      await lossAndGradients(model, BATCH);
      const gradients = await Promise.all(weights.map((weight) => backend.readWeight(weight, "gradient")));
      const random = createRandom(9);
      for (const [w, weight] of weights.entries()) {
        const values = Float64Array.from(await backend.readWeight(weight));
        const i = random.below(values.length);
        const at = async (change: number) => {
          backend.writeWeight(weight, values.with(i, values[i] + change));
          return lossAndGradients(model, BATCH);
        };
        const difference = ((await at(1e-4)) - (await at(-1e-4))) / 2e-4;
        backend.writeWeight(weight, values);
        expect(Math.abs(gradients[w][i] - difference)).toBeLessThan(1e-6 + 1e-4 * Math.abs(difference));
      }
    },
  );
});

describe.each(Object.keys(TINY_FAMILIES))("an adapter of %s", (name) => {
  it("comes back from its folder, and merges to the same model in memory and file by file", async () => {
    const model = await familyModel(name);
    const base = newFolder();
    await saveDecoder(model, base, { dtype: "F32" });
    const loaded = await reload(base);
    await attachAdapter(loaded, { ...SETTINGS, scaling: "rslora" }, 7);
    await fill(loaded);
    const adapted = await logitsOf(loaded);
    const adapter = newFolder();
    await saveLora(loaded, { ...SETTINGS, scaling: "rslora" }, adapter, null);
    const other = await reload(base);
    expect(await loadLora(other, adapter)).toMatchObject({ rank: 3, scaling: "rslora", targets: "all" });
    await expectSame(logitsOf(other), adapted, 1e-3);
    await mergeLora(loaded);
    expect(loraWeights(loaded)).toEqual([]);
    await expectSame(logitsOf(loaded), adapted, 1e-8);
    const checkpoint = await openCheckpoint(base);
    const merged = newFolder();
    const { tensors, close } = await dora.saved.merge(tensorsToWrite(checkpoint.source), adapter, merged);
    await saveHuggingFaceFolder(merged, { ...checkpoint.config }, tensors);
    await Promise.all([close(), checkpoint.source.close()]);
    await expectSame(logitsOf(await reload(merged)), adapted, 1e-3);
  });
});

describe("files", () => {
  it("reorders the magnitudes of queries and keys for a base in halves", async () => {
    const interleaved = { ...TINY_SPEC.positions, layout: "interleaved" } as typeof TINY_SPEC.positions;
    const model = await tinyDecoder(backend, { seed: 1, spec: { positions: interleaved } });
    const [base, adapter, turned] = [newFolder(), newFolder(), newFolder()];
    await saveDecoder(model, base, { dtype: "F32" });
    await attachAdapter(model, SETTINGS, 7);
    await fill(model);
    const adapted = await logitsOf(model);
    await saveLora(model, SETTINGS, adapter, null);
    await dora.saved.saveInHalves(adapter, turned, model.spec);
    const inHalves = await reload(base);
    expect(inHalves.spec.positions).toMatchObject({ layout: "halves" });
    await loadLora(inHalves, turned);
    await expectSame(logitsOf(inHalves), adapted, 1e-3);
    detachLora(inHalves);
    await loadLora(inHalves, adapter);
    expect(worstOf(await logitsOf(inHalves), adapted).difference).toBeGreaterThan(0.01);
  });

  it("are PEFT's, and a missing magnitude is told", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    await attachAdapter(model, { ...SETTINGS, targets: ["v_proj"] }, 7);
    const folder = newFolder();
    await saveLora(model, SETTINGS, folder, "base");
    const { config, tensors } = await openPeftFolder(folder);
    expect(config).toMatchObject({ hasMagnitudes: true, scaling: "lora", targetModules: ["v_proj"] });
    const shapes = [...tensors.tensors.values()].map(({ name, shape }) => [name, [...shape]]);
    expect(shapes.slice(0, 3)).toEqual([
      ["base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight", [3, 16]],
      ["base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight", [8, 3]],
      ["base_model.model.model.layers.0.self_attn.v_proj.lora_magnitude_vector", [8]],
    ]);
    await tensors.close();
    detachLora(model);
    await attachAdapter(model, { ...SETTINGS, method: "lora", targets: ["v_proj"] }, 7);
    const plain = newFolder();
    await saveLora(model, SETTINGS, plain, "base");
    detachLora(model);
    const file = join(plain, "adapter_config.json");
    writeFileSync(file, readFileSync(file, "utf8").replace('"use_dora": false', '"use_dora": true'));
    await expect(loadLora(model, plain)).rejects.toThrow(
      'tensor "base_model.model.model.layers.0.self_attn.v_proj.lora_magnitude_vector" is missing',
    );
    const target = { name: "model.layers.0.self_attn.v_proj.weight", dtype: "F32", shape: [8, 16] } as const;
    const merging = dora.saved.merge([{ ...target, values: async () => new Float32Array(128) }], plain, "out");
    await expect(merging).rejects.toThrow("lora_magnitude_vector [missing] do not fit rank 3");
  });

  it("have no form for llama.cpp's adapters", () => {
    expect(dora.saved.ggufAdapter.because).toBe("has trained lengths of rows, which llama.cpp's adapters cannot hold");
  });
});
