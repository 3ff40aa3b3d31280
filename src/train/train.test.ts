import { afterAll, describe, expect, it } from "vitest";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { oneGroup, weightsOf } from "../adapters/method.ts";
import { adapterSchema, attachAdapter } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { decoderWeights, freeDecoder } from "../models/decoder.ts";
import type { TrainSettings } from "../recipe/schema.ts";
import { type EncodedExample, planSteps } from "./batches.ts";
import { updateWeights } from "./optimizer.ts";
import { type TrainStep, train } from "./train.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

const SETTINGS: TrainSettings = {
  epochs: 1,
  batchExamples: 4,
  accumulation: 1,
  learningRate: 0.01,
  schedule: "constant",
  warmup: 0,
  finalLearningRate: 0,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  clipNorm: 1,
  promptLoss: 0,
  labelSmoothing: 0,
  dropout: 0,
  tokenNoise: 0,
  embeddingNoise: 0,
  layerDecay: 1,
  patience: 0,
  severalRelations: "joined",
  averageFrom: 1,
  validateEvery: 0,
  validationRows: 0,
  validationShare: 0,
  negatives: 0,
  joinedSentences: 0,
  keepBest: "micro",
  checkpointSeconds: 1e6,
  recompute: false,
  sharePrefixes: false,
  onePass: true,
};

/** Examples of several lengths whose answer follows from the prompt's last token. */
function toyExamples(count: number): EncodedExample[] {
  const random = createRandom(1);
  return Array.from({ length: count }, (_, i) => {
    const key = 3 + (i % 4);
    return { promptIds: [1, ...randomIds(random, 1 + (i % 3)), key], answerIds: [10 + key, ...(i % 2 ? [20] : []), 2] };
  });
}

interface Trained {
  steps: TrainStep[];
  values: (part?: "value" | "moment1") => Promise<number[][]>;
  free(): void;
}

async function trained(
  changes: Partial<TrainSettings>,
  options: { seed?: number; count?: number; lora?: boolean; on?: Backend } = {},
): Promise<Trained> {
  const settings = { ...SETTINGS, ...changes };
  const on = options.on ?? backend;
  const { seed = 3, count = 12, lora = false } = options;
  const model = await tinyDecoder(on, { seed: 1, trainable: !lora, deviation: 0.2 });
  const adapter = lora
    ? adapterSchema.parse({ method: "lora", rank: 2, alpha: 4, dropout: 0.3, targets: "all" })
    : null;
  const groups = await attachAdapter(model, adapter ?? { method: "full" }, seed);
  const weights = weightsOf(groups);
  const examples = toyExamples(count);
  const steps: TrainStep[] = [];
  for await (const step of train(model, groups, examples, planSteps(count, settings, seed), settings, seed)) {
    steps.push(step);
  }
  return {
    steps,
    values: async (part = "value") =>
      Promise.all(weights.map(async (weight) => Array.from(await on.readWeight(weight, part)))),
    free: () => freeDecoder(model),
  };
}

const losses = ({ steps }: Trained) => steps.map(({ loss }) => loss);

function expectClose(got: number[][], want: number[][], tolerance: number): void {
  for (const [w, values] of want.entries()) {
    for (const [i, value] of values.entries()) {
      if (!(Math.abs(got[w][i] - value) <= tolerance))
        expect.fail(`weight ${w}[${i}]: ${got[w][i]}, expected ${value}`);
    }
  }
}

describe("train", () => {
  it("learns a toy set, whole and by an adapter", async () => {
    for (const lora of [false, true]) {
      const run = await trained({ epochs: 25, learningRate: lora ? 0.05 : 0.02 }, { lora });
      const got = losses(run);
      expect(got.length).toBe(75);
      // A low-rank adapter of a random model has little room.
      expect(got.at(-1)).toBeLessThan((lora ? 0.7 : 0.25) * got[0]);
      expect(run.steps.map(({ step }) => step)).toEqual(Array.from({ length: 75 }, (_, i) => i + 1));
      expect(run.steps[74].epoch).toBe(25);
      run.free();
    }
  });

  for (const promptLoss of [0, 0.3]) {
    it(`accumulates without changing loss or gradient (promptLoss ${promptLoss})`, async () => {
      const shapes = [
        [4, 1],
        [1, 4],
        [2, 2],
        [3, 2], // the last pass is not full
      ];
      const runs: Trained[] = [];
      for (const [batchExamples, accumulation] of shapes) {
        // Without clipping the first moment is the gradient times (1 − beta1).
        runs.push(await trained({ batchExamples, accumulation, promptLoss, clipNorm: 0 }, { count: 4 }));
      }
      const gradient = await runs[0].values("moment1");
      expect(Math.max(...gradient.flat().map(Math.abs))).toBeGreaterThan(1e-3);
      for (const run of runs.slice(1)) {
        expect(run.steps.length).toBe(1);
        expect(Math.abs(run.steps[0].loss - runs[0].steps[0].loss)).toBeLessThan(1e-6);
        expect(Math.abs(run.steps[0].gradientNorm - runs[0].steps[0].gradientNorm)).toBeLessThan(1e-6);
        expect(run.steps[0].answerTokens).toBe(runs[0].steps[0].answerTokens);
        expectClose(await run.values("moment1"), gradient, 1e-9);
      }
      for (const run of runs) run.free();
    });
  }

  it("counts prompt tokens in the loss only when told", async () => {
    const answer = await trained({ epochs: 1 }, { count: 4 });
    const both = await trained({ epochs: 1, promptLoss: 1 }, { count: 4 });
    expect(both.steps[0].loss).not.toBeCloseTo(answer.steps[0].loss, 3);
    expect(both.steps[0].tokens).toBe(answer.steps[0].tokens);
    answer.free();
    both.free();
  });

  it("gives the same losses and weights for the same seed, others for another", async () => {
    const changes = { epochs: 3, dropout: 0.1, labelSmoothing: 0.05 };
    const [first, again, other] = [await trained(changes), await trained(changes), await trained(changes, { seed: 4 })];
    expect(losses(again)).toEqual(losses(first));
    expect(await again.values()).toEqual(await first.values());
    expect(losses(other)).not.toEqual(losses(first));
    for (const run of [first, again, other]) run.free();
  });

  it("gives the same numbers with recomputation, dropout of model and adapter included", async () => {
    for (const lora of [false, true]) {
      const changes = { epochs: 2, dropout: 0.2 };
      const kept = await trained(changes, { lora });
      const recomputed = await trained({ ...changes, recompute: true }, { lora });
      expect(losses(recomputed)).toEqual(losses(kept));
      expect(await recomputed.values()).toEqual(await kept.values());
      kept.free();
      recomputed.free();
    }
  });

  it("leaves no tensor behind, also when the caller stops", async () => {
    const before = backend.memory();
    const model = await tinyDecoder(backend, { seed: 1, trainable: true });
    const plan = planSteps(12, SETTINGS, 1);
    for await (const { step } of train(model, oneGroup(decoderWeights(model)), toyExamples(12), plan, SETTINGS, 1)) {
      if (step === 2) break;
    }
    freeDecoder(model);
    const after = backend.memory();
    expect([after.tensors, after.weights]).toEqual([before.tensors, before.weights]);
  });

  it("stops with a message when the loss is no longer a number", async () => {
    const run = trained({ epochs: 10, learningRate: 1e200, clipNorm: 0 });
    await expect(run).rejects.toThrow(/The (loss|norm of the gradient) became (NaN|Infinity) at step [2-9]\./);
    await expect(run).rejects.toBeInstanceOf(UserError);
  });
});

describe("updateWeights", () => {
  it("leaves the weights alone when the gradient is no longer a number", async () => {
    const weight = backend.weight(
      { name: "w", rows: 2, columns: 2, storage: "float32", trainable: true },
      [1, 2, 3, 4],
    );
    backend.writeWeight(weight, [0, Number.POSITIVE_INFINITY, 0, 0], "gradient");
    await expect(updateWeights(backend, oneGroup([weight]), SETTINGS, 0.1, 6)).rejects.toThrow(
      "norm of the gradient became Infinity at step 7",
    );
    expect([...(await backend.readWeight(weight))]).toEqual([1, 2, 3, 4]);
  });

  it("clips the whole gradient, decays matrices only, and zeroes gradients", async () => {
    const spec = { columns: 2, storage: "float32", trainable: true } as const;
    const matrix = backend.weight({ ...spec, name: "m", rows: 2 }, [1, 1, 1, 1]);
    const norm = backend.weight({ ...spec, name: "n", rows: 1 }, [1, 1]);
    backend.writeWeight(matrix, [3, 0, 0, 0], "gradient");
    backend.writeWeight(norm, [0, 4], "gradient");
    const settings = { ...SETTINGS, weightDecay: 0.5, clipNorm: 1 };
    expect(await updateWeights(backend, oneGroup([matrix, norm]), settings, 0.1, 0)).toBeCloseTo(5, 6);
    // The first AdamW update moves by the learning rate against the gradient's sign; untouched elements only decay.
    const values = [...(await backend.readWeight(matrix)), ...(await backend.readWeight(norm))];
    for (const [i, want] of [0.85, 0.95, 0.95, 0.95, 1, 0.9].entries()) expect(values[i]).toBeCloseTo(want, 6);
    const moment = await backend.readWeight(norm, "moment1");
    expect(moment[1]).toBeCloseTo(0.1 * (4 / 5), 6);
    expect([...(await backend.readWeight(matrix, "gradient"))]).toEqual([0, 0, 0, 0]);
  });

  it("gives each group of weights its own learning rate", async () => {
    const spec = { rows: 1, columns: 1, storage: "float32", trainable: true } as const;
    const [slow, fast] = ["slow", "fast"].map((name) => backend.weight({ ...spec, name }, [1]));
    for (const weight of [slow, fast]) backend.writeWeight(weight, [2], "gradient");
    const groups = [...oneGroup([slow]), { weights: [fast], learningRateFactor: 4 }];
    await updateWeights(backend, groups, SETTINGS, 0.1, 0);
    expect((await backend.readWeight(slow))[0]).toBeCloseTo(0.9, 6);
    expect((await backend.readWeight(fast))[0]).toBeCloseTo(0.6, 6);
  });
});
