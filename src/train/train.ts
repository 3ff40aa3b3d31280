import { type WeightGroup, weightsOf } from "../adapters/method.ts";
import { mixSeed } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { Tensor } from "../compute/backend.ts";
import { type Decoder, forward, type PackedTokens } from "../models/decoder.ts";
import type { TrainSettings } from "../recipe/schema.ts";
import {
  answersOf,
  type EncodedExample,
  lossWeight,
  packExamples,
  type StepPlan,
  type TrainingBatch,
} from "./batches.ts";
import { embeddingNoise, longestOf } from "./embedding-noise.ts";
import { divergence, learningRateAt, updateWeights } from "./optimizer.ts";
import { cutStep, type PassRoom } from "./passes.ts";
import { createTokenNoise } from "./token-noise.ts";

/** One update of the weights. */
export interface TrainStep {
  /** Number of updates made, from 1. */
  step: number;
  epoch: number;
  /** Mean loss of the step's target tokens, in nats. */
  loss: number;
  learningRate: number;
  gradientNorm: number;
  /** Rows of the forward passes: tokens of shared beginnings once. */
  tokens: number;
  answerTokens: number;
  seconds: number;
}

/** An update that was computed here. */
export interface ComputedStep extends TrainStep {
  /** Tokens of all sequences, those of shared beginnings in each. */
  sequenceTokens: number;
  /** Forward and backward passes: one where memory allows. */
  passes: number;
}

/**
 * The training loop: yields after every update; the caller prints, validates and saves. The first `startStep` updates were made before. All
 * examples of a step are one pass, or as few as `room` allows. Throws a UserError when the loss or the gradient is not finite.
 */
export async function* train(
  model: Decoder,
  groups: readonly WeightGroup[],
  examples: readonly EncodedExample[],
  plan: StepPlan,
  settings: TrainSettings,
  seed: number,
  startStep = 0,
  room: PassRoom | null = null,
): AsyncGenerator<ComputedStep, void, void> {
  const { backend } = model;
  backend.zeroGradients(weightsOf(groups));
  const noise = createTokenNoise(examples, settings.tokenNoise);
  for (let step = startStep; step < plan.totalSteps; step++) {
    const started = performance.now();
    const answers = plan
      .examplesOf(step)
      .flatMap((index) =>
        answersOf(noise?.apply(examples[index], mixSeed(seed, step, index, 0x2015e)) ?? examples[index]),
      );
    const { promptLoss, sharePrefixes } = settings;
    const totalWeight = lossWeight(answers, promptLoss);
    const longest = answers.reduce((most, one) => Math.max(most, one.promptIds.length + one.answerIds.length - 1), 0);
    const passes = cutStep(answers, settings, model.spec.promptAttention, room);
    const losses: Promise<number>[] = [];
    const counts = { tokens: 0, sequenceTokens: 0, answerTokens: 0, passes: passes.length };
    for (const pass of passes) {
      const batch = packExamples(pass, promptLoss, totalWeight, sharePrefixes, model.spec.promptAttention);
      losses.push(addGradients(model, batch, { ...settings, longest }, mixSeed(seed, step)));
      counts.tokens += batch.tokenCount;
      counts.sequenceTokens += batch.sequenceTokens;
      counts.answerTokens += batch.answerTokens;
    }
    const loss = (await Promise.all(losses)).reduce((sum, part) => sum + part, 0);
    const learningRate = learningRateAt(settings, step, plan.totalSteps);
    if (!Number.isFinite(loss)) throw divergence("loss", loss, step + 1);
    const gradientNorm = await updateWeights(backend, groups, settings, learningRate, step);
    const seconds = (performance.now() - started) / 1000;
    const epoch = (step + 1) / plan.stepsPerEpoch;
    yield { step: step + 1, epoch, loss, learningRate, gradientNorm, ...counts, seconds };
  }
}

/** `longest`: tokens of the step's longest sequence, for noise on the embeddings; that of the pass by default. */
type PassSettings = Pick<TrainSettings, "recompute" | "dropout" | "labelSmoothing"> & {
  embeddingNoise?: number;
  longest?: number;
};

/** Adds the gradients of one pass and returns its share of the step's loss. */
export async function addGradients(
  model: Decoder,
  batch: Pick<TrainingBatch, "tokens" | "targets" | "weights">,
  settings: PassSettings,
  seed: number,
): Promise<number> {
  const { backend } = model;
  const tape = createTape(backend, { record: true, recompute: settings.recompute });
  const noise = settings.embeddingNoise ? noiseTensor(model, batch.tokens, settings, seed) : null;
  try {
    const dropout = settings.dropout > 0 ? { probability: settings.dropout, seed } : null;
    const logits = forward(model, tape, { ...batch.tokens, dropout, embeddingNoise: noise, seed });
    const loss = tape.crossEntropy(logits, batch.targets, batch.weights, settings.labelSmoothing);
    const value = backend.read(loss.tensor);
    tape.backward(loss);
    return (await value)[0];
  } finally {
    tape.dispose();
    if (noise) backend.free(noise);
  }
}

function noiseTensor(
  { backend, spec }: Decoder,
  tokens: PackedTokens,
  { embeddingNoise: alpha = 0, longest = longestOf(tokens) }: PassSettings,
  seed: number,
): Tensor {
  const values = embeddingNoise(tokens, longest, spec.width, alpha, mixSeed(seed, 0x4ef7));
  return backend.tensor(values, tokens.ids.length, spec.width, { wide: true });
}
