import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadLora, saveLora } from "../../src/adapters/lora-files.ts";
import { detachLora, loraWeights, mergeLora } from "../../src/adapters/lora-weights.ts";
import { createTape } from "../../src/compute/autograd.ts";
import type { Backend } from "../../src/compute/backend.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { SafetensorsFile } from "../../src/formats/safetensors-read.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { type Decoder, decoderWeights, forward } from "../../src/models/decoder.ts";
import { loadDecoder } from "../../src/models/load.ts";
import { saveDecoder } from "../../src/models/save.ts";
import { TESTED_BACKENDS, worstOf } from "./backends.ts";
import { lossAndGradients, packed } from "./loss-and-gradients.ts";

const FOLDER = new URL("llama-peft", import.meta.url).pathname;
const ADAPTER = join(FOLDER, "adapter");

interface Golden {
  sequences: number[][];
  promptTokens: number[];
  base: { lastLogits: number[][]; loss: number };
  adapted: { lastLogits: number[][]; loss: number };
  training: { adamW: { lr: number; betas: [number, number]; eps: number; weight_decay: number }; losses: number[] };
  trained: { lastLogits: number[][] };
}

// Made by test/golden/make/llama_peft.py: transformers 5.23.0, peft 0.21.2, torch 2.15.0, float32.
const golden = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")) as Golden;

async function loadBase(backend: Backend, trainable: boolean): Promise<Decoder> {
  const checkpoint = await openCheckpoint(FOLDER);
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable });
  } finally {
    await checkpoint.source.close();
  }
}

/** The logits of the last token of each sequence. */
async function lastLogits(model: Decoder): Promise<number[]> {
  const { tokens, lastRows } = packed(golden);
  const tape = createTape(model.backend, { record: false });
  try {
    const logits = forward(model, tape, { ...tokens, outputRows: Int32Array.from(lastRows) });
    return Array.from(await model.backend.read(logits.tensor));
  } finally {
    tape.dispose();
  }
}

/** Gradients against those of PyTorch: the worst difference as a share of the largest element of its tensor. */
async function worstGradient(
  model: Decoder,
  wanted: SafetensorsFile,
  prefix: string,
): Promise<{ name: string; share: number }> {
  let worst = { name: "", share: 0 };
  const names = new Set([...wanted.tensors.keys()].filter((name) => name.startsWith(prefix)));
  for (const weight of decoderWeights(model)) {
    if (!weight.trainable) continue;
    const name = `${prefix}${weight.name}${/\.lora_[AB]$/.test(weight.name) ? ".weight" : ""}`;
    expect(names.delete(name)).toBe(true);
    const values = await wanted.read(name);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const share = worstOf(await model.backend.readWeight(weight, "gradient"), values).difference / largest;
    if (!(share <= worst.share)) worst = { name, share };
  }
  expect([...names]).toEqual([]);
  return worst;
}

describe.each(TESTED_BACKENDS)("a Llama of transformers with an adapter of PEFT on $name", ({ open, exact }) => {
  // bfloat16 keeps 8 bits; this model's weights are ten times as large as those of a real one.
  const near = exact ? 2e-5 : 0.15;
  const nearShare = exact ? 1e-4 : 0.06;
  let backend: Backend;
  beforeEach(() => {
    backend = open();
  });
  afterEach(() => backend.close());
  const folder = mkdtempSync(join(tmpdir(), "cre-peft-golden-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  const expectNear = (got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number) =>
    expect(worstOf(got, wanted)).toSatisfy(({ difference }) => difference < tolerance);

  it("computes the same logits, loss and gradients as transformers", async () => {
    const gradients = await openSafetensors(join(FOLDER, "gradients.safetensors"));
    for (const recompute of [false, true]) {
      const model = await loadBase(backend, true);
      expectNear(await lastLogits(model), golden.base.lastLogits.flat(), near);
      expect(Math.abs((await lossAndGradients(model, packed(golden), recompute)) - golden.base.loss)).toBeLessThan(
        near,
      );
      const worst = await worstGradient(model, gradients, "base.");
      expect(worst).toSatisfy(({ share }) => share < nearShare);
      for (const weight of decoderWeights(model)) backend.freeWeight(weight);
    }
    await gradients.close();
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0, bytes: 0 });
  });

  it("computes the same with the adapter, and trains it to the same losses", async () => {
    const gradients = await openSafetensors(join(FOLDER, "gradients.safetensors"));
    const model = await loadBase(backend, false);
    const settings = await loadLora(model, ADAPTER, { trainable: true });
    expect({ ...settings, targets: [...settings.targets].sort() }).toEqual({
      rank: 3,
      alpha: 12,
      dropout: 0,
      scaling: "lora",
      targets: ["q_proj", "v_proj"],
    });
    expectNear(await lastLogits(model), golden.adapted.lastLogits.flat(), near);
    const trained = loraWeights(model);
    const { adamW, losses } = golden.training;
    const got: number[] = [];
    for (const step of losses.keys()) {
      backend.zeroGradients(trained);
      got.push(await lossAndGradients(model, packed(golden)));
      if (step === 0) {
        const worst = await worstGradient(model, gradients, "adapter.base_model.model.");
        expect(worst).toSatisfy(({ share }) => share < nearShare);
      }
      backend.adamW(trained, {
        learningRate: adamW.lr,
        beta1: adamW.betas[0],
        beta2: adamW.betas[1],
        epsilon: adamW.eps,
        weightDecay: adamW.weight_decay,
        step: step + 1,
        gradientScale: 1,
      });
    }
    const worst = worstOf(got, losses);
    const logits = worstOf(await lastLogits(model), golden.trained.lastLogits.flat());
    console.info(
      `${backend.description}: losses of ${losses.length} steps within ${worst.difference.toExponential(1)}, ` +
        `logits after them within ${logits.difference.toExponential(1)}`,
    );
    expect(worst).toSatisfy(({ difference }) => difference < (exact ? 1e-4 : 0.15));
    // Adam moves every weight by about the learning rate, so gradients near 0 that round to the other side part the weights.
    if (exact) expect(logits).toSatisfy(({ difference }) => difference < 5e-4);
    await gradients.close();
  });

  it("saves and loads an adapter without changing a digit", async () => {
    const model = await loadBase(backend, false);
    const base = await lastLogits(model);
    const settings = await loadLora(model, ADAPTER);
    const adapted = await lastLogits(model);
    await saveLora(model, settings, join(folder, "adapter"), FOLDER);
    detachLora(model);
    expect(await lastLogits(model)).toEqual(base);
    await loadLora(model, join(folder, "adapter"));
    expect(await lastLogits(model)).toEqual(adapted);
    if (!exact) return;
    const [ours, theirs] = await Promise.all(
      [join(folder, "adapter"), ADAPTER].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
    for (const name of theirs.tensors.keys()) expect(await ours.read(name)).toEqual(await theirs.read(name));
    await ours.close();
    await theirs.close();
  });

  it("merges the adapter into the weights, also through a saved folder", async () => {
    const model = await loadBase(backend, false);
    const weights = backend.memory().weights;
    await loadLora(model, ADAPTER);
    const adapted = await lastLogits(model);
    await mergeLora(model);
    expect(backend.memory().weights).toBe(weights);
    const merged = await lastLogits(model);
    expectNear(merged, golden.adapted.lastLogits.flat(), near);
    const best = (logits: number[]) =>
      [logits.slice(0, 61), logits.slice(61)].map((row) => row.indexOf(Math.max(...row)));
    expect(best(merged)).toEqual(best(adapted));
    expect(best(merged)).toEqual(golden.adapted.lastLogits.map((row) => row.indexOf(Math.max(...row))));
    await saveDecoder(model, join(folder, "merged"), { dtype: "F32", maxShardBytes: 9_000 });
    const checkpoint = await openCheckpoint(join(folder, "merged"));
    const loaded = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
    await checkpoint.source.close();
    expect(loaded.spec).toEqual(model.spec);
    expect(await lastLogits(loaded)).toEqual(merged);
  });
});
