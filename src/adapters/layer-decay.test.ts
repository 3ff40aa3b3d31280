import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { tinyDecoder } from "../../test/tiny-model.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Decoder } from "../models/decoder.ts";
import { withLayerDecay } from "./layer-decay.ts";
import { weightsOf } from "./method.ts";
import { adapterSchema, attachAdapter } from "./methods.ts";

let backend: Backend;
beforeEach(() => {
  backend = openReference();
});
afterEach(() => backend.close());

/** The factor of each weight by its name. */
async function factorsOf(model: Decoder, adapter: object, decay: number): Promise<Map<string, number>> {
  const groups = await attachAdapter(model, adapterSchema.parse(adapter), 1);
  const split = withLayerDecay(model, groups, decay);
  const all = weightsOf(split);
  expect([...all].sort((a, b) => a.name.localeCompare(b.name))).toEqual(
    [...weightsOf(groups)].sort((a, b) => a.name.localeCompare(b.name)),
  );
  expect(new Set(all).size).toBe(all.length);
  if (decay === 1) expect(split).toEqual(groups);
  return new Map(
    split.flatMap(({ weights, learningRateFactor }) => weights.map(({ name }) => [name, learningRateFactor])),
  );
}

describe("withLayerDecay", () => {
  it("gives each layer a share of the rate of the one above, the embedding the least", async () => {
    const model = await tinyDecoder(backend, { seed: 1, spec: { layers: 3 }, trainable: true });
    const factors = await factorsOf(model, { method: "full" }, 0.5);
    expect(factors.get("lm_head.weight")).toBe(1);
    expect(factors.get("model.norm.weight")).toBe(1);
    expect(factors.get("model.layers.2.mlp.up_proj.weight")).toBe(1);
    expect(factors.get("model.layers.1.input_layernorm.weight")).toBe(0.5);
    expect(factors.get("model.layers.0.self_attn.q_proj.weight")).toBe(0.25);
    expect(factors.get("model.embed_tokens.weight")).toBe(0.125);
  });

  it("takes an output layer that is the embedding for the embedding", async () => {
    const model = await tinyDecoder(backend, { seed: 1, spec: { tiedHead: true }, trainable: true });
    expect((await factorsOf(model, { method: "full" }, 0.5)).get("model.embed_tokens.weight")).toBe(0.25);
  });

  it("multiplies the ratio of LoRA+, also of magnitudes", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const factors = await factorsOf(model, { method: "dora", targets: ["q_proj"], learningRateRatio: 8 }, 0.5);
    const name = (layer: number, part: string) => `model.layers.${layer}.self_attn.q_proj.${part}`;
    expect(Object.fromEntries(factors)).toEqual({
      [name(0, "lora_A")]: 0.5,
      [name(1, "lora_A")]: 1,
      [name(0, "lora_B")]: 4,
      [name(0, "lora_magnitude_vector")]: 4,
      [name(1, "lora_B")]: 8,
      [name(1, "lora_magnitude_vector")]: 8,
    });
  });

  it("knows the layers of a prefix; what all layers share keeps its rate", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const factors = await factorsOf(model, { method: "prefix", virtualTokens: 2, encoderWidth: 3 }, 0.5);
    expect(factors.get("prefix.embedding")).toBe(1);
    expect(factors.get("prefix.layers.1.key.weight")).toBe(1);
    expect(factors.get("prefix.layers.0.key.weight")).toBe(0.5);
    expect(factors.get("prefix.layers.0.value.bias")).toBe(0.5);
  });

  it("changes nothing with a decay of 1", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const factors = await factorsOf(model, { method: "lora", targets: ["q_proj"] }, 1);
    expect(new Set(factors.values())).toEqual(new Set([1]));
  });
});
