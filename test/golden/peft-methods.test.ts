import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadLora } from "../../src/adapters/lora-files.ts";
import { loraGroups, loraWeights } from "../../src/adapters/lora-weights.ts";
import { oneGroup, type WeightGroup, weightsOf } from "../../src/adapters/method.ts";
import { attachPrefix, detachPrefix, loadPrefix, savePrefix } from "../../src/adapters/prefix.ts";
import { createTape } from "../../src/compute/autograd.ts";
import type { Backend, Weight } from "../../src/compute/backend.ts";
import { openReference } from "../../src/compute/reference/backend.ts";
import { readPeftPrefix } from "../../src/formats/peft-prefix.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { SafetensorsFile } from "../../src/formats/safetensors-read.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { type Decoder, forward } from "../../src/models/decoder.ts";
import { loadDecoder } from "../../src/models/load.ts";
import { prefixWeights } from "../../src/models/prefix.ts";
import { TESTED_BACKENDS, worstOf } from "./backends.ts";
import { lossAndGradients, packed } from "./loss-and-gradients.ts";

// rsLoRA, LoRA+, DoRA and prefix tuning as PEFT computes, trains and saves them.

const temporary = mkdtempSync(join(tmpdir(), "cre-peft-methods-"));
afterAll(() => rmSync(temporary, { recursive: true }));

const GOLDEN = import.meta.dirname;
const FOLDER = join(GOLDEN, "peft-methods");

interface Case {
  base: string;
  loss: number;
  learningRate: number;
  betas: [number, number];
  /** Of LoRA+. */
  ratio?: number;
  losses: number[];
}

interface Golden {
  sequences: number[][];
  promptTokens: number[];
  cases: Record<string, Case>;
  labelSmoothing: { logits: number[][]; targets: number[]; smoothing: number; loss: number; gradient: number[][] };
}

// Made by test/golden/make/peft_methods.py: transformers 5.24.0, peft 0.21.2, torch 2.15.0, float32.
const golden = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")) as Golden;

async function loadBase(backend: Backend, name: string): Promise<Decoder> {
  const checkpoint = await openCheckpoint(join(GOLDEN, name));
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  } finally {
    await checkpoint.source.close();
  }
}

/** The logits of all rows. */
async function logitsOf(model: Decoder): Promise<ArrayLike<number>> {
  const tape = createTape(model.backend, { record: false });
  try {
    return await model.backend.read(forward(model, tape, packed(golden).tokens).tensor);
  } finally {
    tape.dispose();
  }
}

/** Trains the groups as the case was trained; `afterFirst` sees the gradients of the first step. */
async function trainAs(
  model: Decoder,
  groups: readonly WeightGroup[],
  { learningRate, betas, losses }: Case,
  afterFirst: () => Promise<void>,
): Promise<number[]> {
  const { backend } = model;
  const got: number[] = [];
  for (let step = 1; step <= losses.length; step++) {
    backend.zeroGradients(weightsOf(groups));
    got.push(await lossAndGradients(model, packed(golden)));
    if (step === 1) await afterFirst();
    const common = { beta1: betas[0], beta2: betas[1], epsilon: 1e-8, weightDecay: 0, step, gradientScale: 1 };
    for (const { weights, learningRateFactor } of groups) {
      backend.adamW(weights, { ...common, learningRate: learningRate * learningRateFactor });
    }
  }
  return got;
}

/** The worst gradient against PyTorch's, as a share of the largest element of its tensor. */
async function worstGradient(
  backend: Backend,
  weights: readonly Weight[],
  wantedOf: (weight: Weight) => Promise<ArrayLike<number>>,
): Promise<{ name: string; share: number }> {
  let worst = { name: "", share: 0 };
  for (const weight of weights) {
    const values = Array.from(await wantedOf(weight));
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const share = worstOf(await backend.readWeight(weight, "gradient"), values).difference / largest;
    if (!(share <= worst.share)) worst = { name: weight.name, share };
  }
  return worst;
}

/** The numbers of PEFT that belong to a weight of a prefix; `kind` is "start" or "gradient". PEFT has those of all layers in one tensor. */
async function prefixNumbers(model: Decoder, weight: Weight, numbers: SafetensorsFile, kind: string) {
  const { encoder, layers } = model.prefix!;
  const read = (name: string) => numbers.read(`${kind}.prompt_encoder.${name}`);
  if (weight === encoder?.embedding) return read("embedding.weight");
  if (weight === encoder?.weight) return read("transform.0.weight");
  if (weight === encoder?.bias) return read("transform.0.bias");
  const parts = layers.flatMap(({ k, v }) => [k, v]);
  const part = parts.findIndex((rows) => rows.weight === weight || rows.bias === weight);
  const count = weight.rows * weight.columns;
  if (encoder) {
    const name = parts[part].weight === weight ? "transform.2.weight" : "transform.2.bias";
    return (await read(name)).subarray(part * count, (part + 1) * count);
  }
  const all = await read("embedding.weight");
  const { columns } = weight;
  return Float32Array.from({ length: count }, (_, i) => {
    return all[(Math.floor(i / columns) * parts.length + part) * columns + (i % columns)];
  });
}

describe.each(TESTED_BACKENDS)("adapters of PEFT on $name", ({ open, exact }) => {
  // bfloat16 keeps 8 bits; the models' weights are ten times as large as those of real ones.
  const near = exact ? 1e-4 : 0.15;
  // The reference backend with bfloat16 differs by up to 0.085 in gradients, and by 0.3 in losses after steps of LoRA+.
  const nearShare = exact ? 1e-4 : 0.12;
  let backend: Backend;
  beforeEach(() => {
    backend = open();
  });
  afterEach(() => backend.close());
  const expectNear = (got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number) =>
    expect(worstOf(got, wanted)).toSatisfy(({ difference }) => difference < tolerance);

  const loraCases = Object.entries(golden.cases).filter(([name]) => !name.startsWith("prefix"));
  it.each(loraCases)("%s: the same logits, gradients, losses of steps and logits after them", async (name, one) => {
    const numbers = await openSafetensors(join(FOLDER, name, "numbers.safetensors"));
    const model = await loadBase(backend, one.base);
    await loadLora(model, join(FOLDER, name, "adapter"), { trainable: true });
    expectNear(await logitsOf(model), await numbers.read("logits"), near);
    const weights = loraWeights(model);
    const expected = [...numbers.tensors.keys()].filter((key) => key.startsWith("gradient."));
    expect(expected).toHaveLength(weights.length);
    const losses = await trainAs(model, loraGroups(model, one.ratio ?? 1), one, async () => {
      const wantedOf = ({ name }: Weight) => numbers.read(`gradient.base_model.model.${name}.weight`);
      const worst = await worstGradient(backend, weights, wantedOf);
      expect(worst).toSatisfy(({ share }) => share < nearShare);
    });
    expect(worstOf(losses, one.losses)).toSatisfy(({ difference }) => difference < (exact ? 1e-4 : 0.4));
    // Adam moves every weight by about the learning rate, so gradients near 0 that round to the other side part the weights.
    if (exact) expectNear(await logitsOf(model), await numbers.read("trained"), 1e-3);
    await numbers.close();
  });

  const prefixCases = Object.entries(golden.cases).filter(([name]) => name.startsWith("prefix"));
  it.each(prefixCases)("%s: the same logits, gradients, losses of steps and logits after them", async (name, one) => {
    const numbers = await openSafetensors(join(FOLDER, name, "numbers.safetensors"));
    const adapter = join(FOLDER, name, "adapter");
    const model = await loadBase(backend, one.base);
    await loadPrefix(model, adapter, { trainable: true });
    expectNear(await logitsOf(model), await numbers.read("logits"), near);
    if (name === "prefix-projection") {
      detachPrefix(model);
      await attachPrefix(model, { method: "prefix", virtualTokens: 5, encoderWidth: 6 }, 1);
      for (const weight of prefixWeights(model.prefix!)) {
        backend.writeWeight(weight, await prefixNumbers(model, weight, numbers, "start"));
      }
      expectNear(await logitsOf(model), await numbers.read("logits"), near);
      // What the encoder gives is what PEFT has saved.
      await savePrefix(model, join(temporary, name), null);
      const [ours, theirs] = await Promise.all([join(temporary, name), adapter].map(readPeftPrefix));
      expectNear(ours.values, theirs.values, exact ? 1e-6 : 0.02);
    }
    const weights = prefixWeights(model.prefix!);
    for (const recompute of [false, true]) {
      backend.zeroGradients(weights);
      expect(Math.abs((await lossAndGradients(model, packed(golden), recompute)) - one.loss)).toBeLessThan(near);
      const wantedOf = (weight: Weight) => prefixNumbers(model, weight, numbers, "gradient");
      const worst = await worstGradient(backend, weights, wantedOf);
      expect(worst).toSatisfy(({ share }) => share < nearShare);
    }
    const losses = await trainAs(model, oneGroup(weights), one, async () => {});
    expect(worstOf(losses, one.losses)).toSatisfy(({ difference }) => difference < (exact ? 1e-4 : 0.4));
    if (exact) expectNear(await logitsOf(model), await numbers.read("trained"), 1e-3);
    await numbers.close();
  });
});

it("label smoothing is that of torch", async () => {
  const { logits, targets, smoothing, loss, gradient } = golden.labelSmoothing;
  const backend = openReference({ precision: "float64" });
  const rows = backend.tensor(logits.flat(), logits.length, logits[0].length);
  const weights = new Float32Array(targets.length).fill(1 / targets.length);
  const made = backend.crossEntropy(rows, Int32Array.from(targets), weights, smoothing);
  expect((await backend.read(made.loss))[0]).toBeCloseTo(loss, 6);
  expect(worstOf(await backend.read(made.dLogits), gradient.flat()).difference).toBeLessThan(1e-7);
  await backend.close();
});
