import { afterAll, describe, expect, it } from "vitest";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { weightsOf } from "../adapters/method.ts";
import { adapterSchema, attachAdapter } from "../adapters/methods.ts";
import { createRandom } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import { freeDecoder } from "../models/decoder.ts";
import type { PromptAttention } from "../models/spec.ts";
import { recipeSchema, type TrainSettings } from "../recipe/schema.ts";
import { type EncodedExample, planSteps } from "./batches.ts";
import type { PassRoom } from "./passes.ts";
import { type ComputedStep, train } from "./train.ts";

const backend = openReference({ precision: "float32" });
afterAll(() => backend.close());

const EXAMPLES = 16;
const settingsOf = (changes: Partial<TrainSettings>): TrainSettings =>
  recipeSchema.shape.train.parse({
    ...{ epochs: 1, batchExamples: 2, accumulation: 4, learningRate: 1e-3, warmup: 0, epsilon: 1e-4, ...changes },
  });

/** Rows behind one instruction, some of one sentence; with `several`, rows with weighted answers and rows that copy from their prompt too. */
function examplesOf(several: boolean): EncodedExample[] {
  const random = createRandom(9);
  const instruction = randomIds(random, 18);
  const sentences = Array.from({ length: 9 }, () => randomIds(random, 17));
  return Array.from({ length: EXAMPLES }, (_, i) => {
    const promptIds = [...instruction, ...sentences[i % 9], ...randomIds(random, 1 + (i % 3))];
    const answerIds = [3 + (i % 4), ...(i % 2 ? [20] : []), 2];
    if (!several || i % 3 === 0) return { promptIds, answerIds };
    const answers = [answerIds, [9, 2], [9, 8, 2]].map((ids, a) => ({ ids, weight: [0.5, 0.3, 0.2][a] }));
    return { promptIds, answerIds, answers, copiesPrompt: i % 3 === 1 };
  });
}

interface Case {
  adapter: object;
  train?: Partial<TrainSettings>;
  several?: boolean;
  promptAttention?: PromptAttention;
}

async function trained(one: Case, room: PassRoom | null, changes: Partial<TrainSettings> = {}) {
  const { adapter, several = false, promptAttention = "causal" } = one;
  const settings = settingsOf({ ...one.train, ...changes });
  const parsed = adapterSchema.parse(adapter);
  const trainable = parsed.method === "full";
  const model = await tinyDecoder(backend, { seed: 1, trainable, deviation: 0.2, spec: { promptAttention } });
  const groups = await attachAdapter(model, parsed, 5);
  const steps: ComputedStep[] = [];
  const plan = planSteps(EXAMPLES, settings, 3);
  for await (const step of train(model, groups, examplesOf(several), plan, settings, 3, 0, room)) steps.push(step);
  const values = await Promise.all(weightsOf(groups).map(async (weight) => [...(await backend.readWeight(weight))]));
  freeDecoder(model);
  return { steps, losses: steps.map(({ loss }) => loss), values: values.flat() };
}

function expectSame(got: Awaited<ReturnType<typeof trained>>, want: Awaited<ReturnType<typeof trained>>): void {
  const worst = (a: number[], b: number[]) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
  expect(got.losses.length).toBe(want.losses.length);
  expect(worst(got.losses, want.losses)).toBeLessThan(1e-6);
  expect(got.values.length).toBe(want.values.length);
  expect(worst(got.values, want.values)).toBeLessThan(1e-6);
}

/** Two sequences a pass. */
const SMALL: PassRoom = { bytes: 0, bytesOf: ({ tokens }) => tokens, leastExamples: 2 };
const lora = { method: "lora", rank: 2, alpha: 8, dropout: 0, targets: "all" };

const CASES: Record<string, Case> = {
  LoRA: { adapter: lora },
  "LoRA with dropout": { adapter: { ...lora, dropout: 0.3 } },
  "dropout of the model too": { adapter: { ...lora, dropout: 0.3 }, train: { dropout: 0.2 } },
  "dropout and recomputing": { adapter: { ...lora, dropout: 0.3 }, train: { dropout: 0.2, recompute: true } },
  "DoRA with dropout": { adapter: { ...lora, method: "dora", dropout: 0.3 } },
  "a trained prefix": { adapter: { method: "prefix", virtualTokens: 3 } },
  "all weights": { adapter: { method: "full" }, train: { dropout: 0.2 } },
  "soft targets and mentions": { adapter: { ...lora, dropout: 0.3 }, several: true },
  "noise on embeddings": { adapter: { ...lora, dropout: 0.3 }, train: { embeddingNoise: 5 } },
  "noise on tokens": { adapter: { ...lora, dropout: 0.3 }, train: { tokenNoise: 0.2 }, several: true },
  "a loss on the prompt": { adapter: { ...lora, dropout: 0.3 }, train: { promptLoss: 0.3, labelSmoothing: 0.1 } },
  "prompts in both directions": { adapter: { ...lora, dropout: 0.3 }, promptAttention: "both", several: true },
};

describe("a step in one pass", () => {
  it.each(Object.entries(CASES))("gives the losses and weights of a step in several: %s", async (_, one) => {
    const whole = await trained(one, null);
    const split = await trained(one, SMALL);
    expect(whole.steps.every(({ passes }) => passes === 1)).toBe(true);
    expect(split.steps.every(({ passes }) => passes >= 4)).toBe(true);
    expectSame(split, whole);
    const { sequenceTokens, answerTokens } = whole.steps[0];
    expect(split.steps[0]).toMatchObject({ sequenceTokens, answerTokens });
    // The sentences of prompts that are read in both directions differ, so only answers share a beginning.
    const computed = [whole, split].map(({ steps }) => steps.reduce((sum, { tokens }) => sum + tokens, 0));
    expect(computed[0]).toBeLessThanOrEqual(computed[1]);
    if (one.promptAttention !== "both" && !one.train?.tokenNoise) expect(computed[0]).toBeLessThan(0.8 * computed[1]);
  });

  it("is the same step whether beginnings are shared or not, dropout and noise included", async () => {
    const one: Case = { adapter: { ...lora, dropout: 0.3 }, train: { dropout: 0.2, embeddingNoise: 5 }, several: true };
    const shared = await trained(one, null);
    const apart = await trained(one, null, { sharePrefixes: false });
    expect(apart.steps[0].tokens).toBe(apart.steps[0].sequenceTokens);
    expect(shared.steps[0].tokens).toBeLessThan(0.7 * apart.steps[0].tokens);
    expectSame(apart, shared);
  });

  it("draws other masks in each step and for each seed", async () => {
    const one: Case = { adapter: lora, train: { dropout: 0.5, learningRate: 1e-9, epochs: 3, accumulation: 8 } };
    const { losses } = await trained(one, null);
    expect(losses.length).toBe(3);
    expect(new Set(losses.map((loss) => loss.toFixed(5))).size).toBe(3);
  });
});
