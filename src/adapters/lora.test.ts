import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomIds, sequenceLogits, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { UserErrors } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { type Decoder, decoderWeights } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { loadLora, saveLora } from "./lora-files.ts";
import { attachLora, detachLora, type LoraSettings, loraWeights, mergeLora } from "./lora-weights.ts";
import { oneGroup } from "./method.ts";
import { adapterSchema, attachAdapter } from "./methods.ts";

const root = mkdtempSync(join(tmpdir(), "cre-lora-"));
afterAll(() => rmSync(root, { recursive: true }));

let folder = "";
let count = 0;
let backend: Backend;
beforeEach(() => {
  folder = join(root, String(count++));
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const SETTINGS: LoraSettings = { rank: 3, alpha: 12, dropout: 0.1, targets: ["q_proj", "v_proj"] };
const IDS = randomIds(createRandom(1), 9);

const logitsOf = (model: Decoder) => sequenceLogits(model, IDS);

/** Gives the adapter weights that do something. */
function fill(model: Decoder, seed = 1): void {
  const random = createRandom(seed);
  for (const weight of loraWeights(model)) {
    const length = weight.rows * weight.columns;
    backend.writeWeight(
      weight,
      Float32Array.from({ length }, () => random.normal() * 0.3),
    );
  }
}

const weightsOf = async (model: Decoder) =>
  Promise.all(loraWeights(model).map(async (weight) => [weight.name, Array.from(await backend.readWeight(weight))]));

describe("attachLora", () => {
  it("leaves the model as it is, and detaching leaves nothing", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [before, base] = [backend.memory(), await logitsOf(model)];
    attachLora(model, SETTINGS, 7);
    expect(await logitsOf(model)).toEqual(base);
    fill(model);
    expect(await logitsOf(model)).not.toEqual(base);
    detachLora(model);
    expect(await logitsOf(model)).toEqual(base);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: before.weights, bytes: before.bytes });
  });

  it("adds trainable pairs of the right shape to the targets only", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, SETTINGS, 7);
    expect(loraWeights(model).map(({ name, rows, columns, trainable }) => [name, rows, columns, trainable])).toEqual(
      [0, 1].flatMap((layer) => [
        [`model.layers.${layer}.self_attn.q_proj.lora_A`, 3, 16, true],
        [`model.layers.${layer}.self_attn.q_proj.lora_B`, 16, 3, true],
        [`model.layers.${layer}.self_attn.v_proj.lora_A`, 3, 16, true],
        [`model.layers.${layer}.self_attn.v_proj.lora_B`, 8, 3, true],
      ]),
    );
    const { lowRank } = model.layers[0].q;
    expect(lowRank).toMatchObject({ scale: 4, dropout: 0.1 });
    expect(model.layers[0].k.lowRank).toBeNull();
    expect(model.head.lowRank).toBeNull();
    detachLora(model);
    attachLora(model, { ...SETTINGS, targets: "all" }, 7);
    expect(loraWeights(model)).toHaveLength(2 * 7 * 2);
  });

  it("draws a uniformly in ±1/√I, the same for the same seed whatever the other targets are, and b zero", async () => {
    const model = await tinyDecoder(backend, { seed: 1, spec: { width: 64, headWidth: 16, feedForward: 200 } });
    attachLora(model, { ...SETTINGS, rank: 16, targets: "all" }, 7);
    const all = new Map((await weightsOf(model)) as [string, number[]][]);
    for (const [name, values] of all) {
      if (name.endsWith("lora_B")) {
        expect(values.every((value) => value === 0)).toBe(true);
        continue;
      }
      const bound = 1 / Math.sqrt(name.includes("down_proj") ? 200 : 64);
      const largest = Math.max(...values.map(Math.abs));
      const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
      expect(largest).toBeLessThanOrEqual(bound);
      expect(largest).toBeGreaterThan(0.98 * bound);
      expect(Math.abs(variance / ((bound * bound) / 3) - 1)).toBeLessThan(0.15);
    }
    detachLora(model);
    attachLora(model, { ...SETTINGS, rank: 16 }, 7);
    for (const [name, values] of (await weightsOf(model)) as [string, number[]][])
      expect(values).toEqual(all.get(name));
    detachLora(model);
    attachLora(model, { ...SETTINGS, rank: 16 }, 8);
    const [[name, values]] = (await weightsOf(model)) as [string, number[]][];
    expect(values).not.toEqual(all.get(name));
  });

  it("names unknown targets, all of them, with the nearest known one", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const attach = (targets: string[]) => () => attachLora(model, { ...SETTINGS, targets }, 7);
    expect(attach(["q_porj", "v_proj", "query_key_value"])).toThrow(
      "adapter.targets:\n" +
        '  - "q_porj" is not a module of a llama model, did you mean "q_proj"?\n' +
        '  - "query_key_value" is not a module of a llama model',
    );
    expect(attach([])).toThrow("adapter.targets:\n  - there is none");
    expect(attach(["W_pack"])).toThrow(UserErrors);
    expect(attach(["W_pack"])).toThrow(
      '"W_pack" is not a module of a llama model, expected q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or "all"',
    );
    expect(loraWeights(model)).toEqual([]);
  });

  it("does not put one adapter over another", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, SETTINGS, 7);
    const weights = loraWeights(model);
    expect(() => attachLora(model, { ...SETTINGS, targets: ["k_proj"] }, 7)).toThrow("already has an adapter");
    await saveLora(model, SETTINGS, folder, null);
    await expect(loadLora(model, folder)).rejects.toThrow("already has an adapter");
    expect(loraWeights(model)).toEqual(weights);
  });
});

describe("attachAdapter", () => {
  it("trains the adapter, or everything", async () => {
    const model = await tinyDecoder(backend, { seed: 1, trainable: true });
    const all = await attachAdapter(model, { method: "full" }, 1);
    expect(all).toEqual(oneGroup(decoderWeights(model)));
    const frozen = await tinyDecoder(backend, { seed: 1 });
    expect(await attachAdapter(frozen, { method: "full" }, 1)).toEqual(oneGroup([]));
    const [trained] = await attachAdapter(frozen, adapterSchema.parse({ method: "lora", ...SETTINGS }), 1);
    expect(trained.weights).toHaveLength(8);
    expect([trained]).toEqual(oneGroup(loraWeights(frozen)));
  });
});

describe("saving and loading", () => {
  it("gives identical outputs on another copy of the base", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, SETTINGS, 7);
    fill(model);
    await saveLora(model, SETTINGS, folder, "models/base");
    const other = await tinyDecoder(backend, { seed: 1 });
    expect(await loadLora(other, folder)).toEqual({ ...SETTINGS, scaling: "lora" });
    expect(await logitsOf(other)).toEqual(await logitsOf(model));
    expect(await weightsOf(other)).toEqual(await weightsOf(model));
    expect(loraWeights(other).every(({ trainable }) => !trainable)).toBe(true);
    detachLora(other);
    await loadLora(other, folder, { trainable: true });
    expect(loraWeights(other).every(({ trainable }) => trainable)).toBe(true);
  });

  it("writes PEFT's names", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, { ...SETTINGS, targets: ["down_proj"] }, 7);
    await saveLora(model, SETTINGS, folder, "models/base");
    const file = await openSafetensors(join(folder, "adapter_model.safetensors"));
    expect([...file.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual(
      [0, 1].flatMap((layer) => [
        [`base_model.model.model.layers.${layer}.mlp.down_proj.lora_A.weight`, "F32", [3, 24]],
        [`base_model.model.model.layers.${layer}.mlp.down_proj.lora_B.weight`, "F32", [16, 3]],
      ]),
    );
    await file.close();
    expect(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"))).toMatchObject({
      peft_type: "LORA",
      r: 3,
      lora_alpha: 12,
      lora_dropout: 0.1,
      target_modules: ["down_proj"],
      base_model_name_or_path: "models/base",
    });
  });

  it("matches targets as PEFT does: by the end of the name, by the whole name, all", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, { ...SETTINGS, targets: "all" }, 7);
    fill(model);
    const adapted = await logitsOf(model);
    await saveLora(model, SETTINGS, folder, null);
    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    const spellings = [
      "all-linear",
      [
        "self_attn.q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "mlp.up_proj",
        "gate_proj",
        "layers.0.mlp.down_proj",
        "model.layers.1.mlp.down_proj",
      ],
    ];
    for (const targets of spellings) {
      writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...config, target_modules: targets }));
      detachLora(model);
      expect((await loadLora(model, folder)).targets).toBe("all");
      expect(await logitsOf(model)).toEqual(adapted);
    }
    const partOf = async (targets: string[]) => {
      writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...config, target_modules: targets }));
      detachLora(model);
      return loadLora(model, folder);
    };
    // "j_proj" is the end of no name's part.
    await expect(partOf(["j_proj"])).rejects.toThrow('no module of it is called ["j_proj"], but q_proj, ');
  });

  it("keeps an adapter of one layer to that layer", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, SETTINGS, 7);
    fill(model);
    for (const slot of ["q", "v"] as const) {
      const { lowRank } = model.layers[1][slot];
      if (!lowRank) throw new Error("no adapter");
      backend.freeWeight(lowRank.a);
      backend.freeWeight(lowRank.b);
      model.layers[1][slot].lowRank = null;
    }
    const adapted = await logitsOf(model);
    await saveLora(model, SETTINGS, folder, null);
    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    expect(config.target_modules).toEqual(["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]);
    detachLora(model);
    await loadLora(model, folder);
    expect(await logitsOf(model)).toEqual(adapted);
  });

  it("reports all tensors that do not fit, and leaves the model as it was", async () => {
    const golden = new URL("../../test/golden/llama-peft/adapter", import.meta.url).pathname;
    cpSync(golden, folder, { recursive: true });
    const model = await tinyDecoder(backend, { seed: 1, spec: { ...TINY_SPEC, layers: 3 } });
    const before = backend.memory();
    const name = (layer: number, module: string, part: string) =>
      `base_model.model.model.layers.${layer}.self_attn.${module}.${part}.weight`;
    const missing = await loadLora(model, folder).catch((error) => error);
    expect(missing).toBeInstanceOf(UserErrors);
    expect(missing.message.startsWith(`${folder}: the adapter does not fit the model:\n`)).toBe(true);
    expect(missing.hint).toBe("Was the adapter trained on another base model?");
    expect(missing.problems).toEqual(
      ["q_proj", "v_proj"].flatMap((module) => [
        `tensor "${name(2, module, "lora_A")}" is missing`,
        `tensor "${name(2, module, "lora_B")}" is missing`,
      ]),
    );
    const shallow = await tinyDecoder(backend, { seed: 1, spec: { layers: 1, width: 8, headWidth: 2 } });
    const misfit = await loadLora(shallow, folder).catch((error) => error);
    expect([...misfit.problems].sort()).toEqual(
      [
        `"${name(0, "q_proj", "lora_A")}" is [3,16], expected [3,8]`,
        `"${name(0, "q_proj", "lora_B")}" is [16,3], expected [8,3]`,
        `"${name(0, "v_proj", "lora_A")}" is [3,16], expected [3,8]`,
        `"${name(0, "v_proj", "lora_B")}" is [8,3], expected [4,3]`,
        ...["q_proj", "v_proj"].flatMap((module) =>
          ["lora_A", "lora_B"].map(
            (part) => `tensor "${name(1, module, part)}" belongs to no target module of the model`,
          ),
        ),
      ].sort(),
    );
    expect(loraWeights(model)).toEqual([]);
    expect(backend.memory().weights).toBeLessThan(2 * before.weights);
  });

  it("says when the rank is not that of the tensors", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, { ...SETTINGS, targets: ["q_proj"] }, 7);
    await saveLora(model, { ...SETTINGS, rank: 4 }, folder, null);
    detachLora(model);
    const error = await loadLora(model, folder).catch((thrown) => thrown);
    expect(error.problems[0]).toBe(
      '"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" is [3,16], expected [4,16]',
    );
  });

  it("leaves no half adapter when a tensor cannot be read", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const before = backend.memory();
    attachLora(model, SETTINGS, 7);
    await saveLora(model, SETTINGS, folder, null);
    detachLora(model);
    const real = backend.weight.bind(backend);
    let made = 0;
    backend.weight = (spec, values) => {
      if (++made === 4) throw new Error("no memory");
      return real(spec, values);
    };
    await expect(loadLora(model, folder)).rejects.toThrow("no memory");
    expect(loraWeights(model)).toEqual([]);
    expect(backend.memory()).toMatchObject({ weights: before.weights, bytes: before.bytes });
  });
});

describe("mergeLora", () => {
  it("gives the outputs of the adapter without it", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const before = backend.memory();
    attachLora(model, { ...SETTINGS, targets: "all" }, 7);
    fill(model);
    const adapted = await logitsOf(model);
    await mergeLora(model);
    expect(loraWeights(model)).toEqual([]);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: before.weights, bytes: before.bytes });
    const merged = await logitsOf(model);
    for (let i = 0; i < adapted.length; i++) {
      expect(Math.abs(merged[i] - adapted[i])).toBeLessThan(1e-3 + 1e-5 * Math.abs(adapted[i]));
    }
    const V = TINY_SPEC.vocabularySize;
    const best = (logits: ArrayLike<number>) =>
      IDS.map((_, t) => {
        const row = Array.from({ length: V }, (_, v) => logits[t * V + v]);
        return row.indexOf(Math.max(...row));
      });
    expect(best(merged)).toEqual(best(adapted));
  });

  it("adds scale · b·a, by hand", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const { weight } = model.layers[1].v;
    const before = await backend.readWeight(weight);
    attachLora(model, { rank: 1, alpha: 3, dropout: 0, targets: ["v_proj"] }, 7);
    const { lowRank } = model.layers[1].v;
    if (!lowRank) throw new Error("no adapter");
    backend.writeWeight(
      lowRank.a,
      Float32Array.from({ length: 16 }, (_, i) => i),
    );
    backend.writeWeight(
      lowRank.b,
      Float32Array.from({ length: 8 }, (_, o) => o / 2),
    );
    await mergeLora(model);
    const after = await backend.readWeight(weight);
    for (let o = 0; o < 8; o++) {
      for (let i = 0; i < 16; i++) expect(after[o * 16 + i]).toBeCloseTo(before[o * 16 + i] + (3 * o * i) / 2, 4);
    }
  });

  it("is refused over a quantised base, which keeps its adapter", async () => {
    const model = await initDecoder(backend, TINY_SPEC, 1, { storage: "nf4", trainable: false });
    attachLora(model, SETTINGS, 7);
    const adapted = await logitsOf(model);
    await expect(mergeLora(model)).rejects.toThrow(
      '"model.layers.0.self_attn.q_proj" is kept as nf4: an adapter cannot be merged into it without loss.',
    );
    expect(await logitsOf(model)).toEqual(adapted);
  });
});

describe("an adapter folder with a tensor too many", () => {
  it("is refused", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, SETTINGS, 7);
    await saveLora(model, SETTINGS, folder, null);
    detachLora(model);
    const path = join(folder, "adapter_model.safetensors");
    const file = await openSafetensors(path);
    const tensors = [...file.tensors.values()].map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
      values: () => file.read(name),
    }));
    const extra = {
      name: "base_model.model.lm_head.weight",
      dtype: "F32",
      shape: [1],
      values: async () => [1],
    } as const;
    await writeSafetensors(path, [...tensors, extra]);
    await file.close();
    const error = await loadLora(model, folder).catch((thrown) => thrown);
    expect(error.problems).toEqual([
      'tensor "base_model.model.lm_head.weight" belongs to no target module of the model',
    ]);
  });
});
