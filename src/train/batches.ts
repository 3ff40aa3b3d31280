import { createRandom, mixSeed } from "../base/random.ts";
import type { PackedTokens } from "../models/decoder.ts";
import { packSequences } from "../models/shared-prefixes.ts";
import type { PromptAttention } from "../models/spec.ts";

/** A training example as token ids: the loss is on the answer and, with a weight, on the prompt. */
export interface EncodedExample {
  promptIds: ArrayLike<number>;
  /** With the end-of-sequence token. */
  answerIds: ArrayLike<number>;
  /** As long as the prompt: the id that was there before masking, a target of the position before it; −1 elsewhere. */
  maskedIds?: ArrayLike<number>;
  /** Whether the answer copies from the prompt, so that no token of the prompt may be replaced by noise. */
  copiesPrompt?: boolean;
  /** Several answers in the place of `answerIds`, with weights that add up to 1: the loss is their weighted mean. */
  answers?: readonly WeightedAnswer[];
}

/** One of the answers of an example; its ids end with the end-of-sequence token. */
export interface WeightedAnswer {
  ids: ArrayLike<number>;
  weight: number;
}

/** A prompt with one answer, and the factor on its loss (1 by default). */
export type EncodedAnswer = Omit<EncodedExample, "answers"> & { answers?: never; weight?: number };

/** The answers of an example, each behind the same prompt. With shared prefixes the prompt is computed once. */
export function answersOf(example: EncodedExample): EncodedAnswer[] {
  const { answers, ...prompt } = example;
  if (!answers) return [prompt];
  return answers.map(({ ids, weight }) => ({ ...prompt, answerIds: ids, weight }));
}

/** Packed training tokens with the targets of their output rows. */
export interface TrainingBatch {
  tokens: PackedTokens;
  /** Next token and loss weight of each output row; weights of a whole step add up to 1. */
  targets: Int32Array;
  weights: Float32Array;
  /** Rows of the forward pass: all tokens, those of shared prefixes once. */
  tokenCount: number;
  /** Tokens of all sequences, those of shared prefixes in each. */
  sequenceTokens: number;
  answerTokens: number;
}

/** The assignment of examples to steps: a pure function of the seed, so that a run can resume at any step. */
export interface StepPlan {
  stepsPerEpoch: number;
  totalSteps: number;
  /** Indices of the examples of one step, in the order in which they were drawn. */
  examplesOf(step: number): number[];
}

export function planSteps(
  exampleCount: number,
  settings: { epochs: number; batchExamples: number; accumulation: number },
  seed: number,
): StepPlan {
  const perStep = settings.batchExamples * settings.accumulation;
  const stepsPerEpoch = Math.ceil(exampleCount / perStep);
  let shuffled: { epoch: number; order: number[] } | null = null;
  const orderOf = (epoch: number): number[] => {
    if (shuffled?.epoch !== epoch) {
      const order = Array.from({ length: exampleCount }, (_, i) => i);
      shuffled = { epoch, order: createRandom(mixSeed(seed, epoch, 0x5eed)).shuffle(order) };
    }
    return shuffled.order;
  };
  return {
    stepsPerEpoch,
    totalSteps: Math.max(1, Math.round(settings.epochs * stepsPerEpoch)),
    examplesOf(step) {
      const epoch = Math.floor(step / stepsPerEpoch);
      const from = (step % stepsPerEpoch) * perStep;
      return orderOf(epoch).slice(from, from + perStep);
    },
  };
}

/** Σ of the loss weights of some examples, before they are normalised. */
export function lossWeight(examples: readonly EncodedAnswer[], promptLoss: number): number {
  let total = 0;
  for (const example of examples) {
    const { promptIds, answerIds, weight = 1 } = example;
    const masked = maskedCount(example);
    total += weight * (answerIds.length + masked + promptLoss * Math.max(0, promptIds.length - 1 - masked));
  }
  return total;
}

/** Tokens of an example with a loss: its answer and the masked ones, and all but the first where the prompt has a loss. */
export function targetCount(example: EncodedAnswer, promptLoss: number): number {
  const { promptIds, answerIds } = example;
  return answerIds.length + (promptLoss > 0 ? Math.max(0, promptIds.length - 1) : maskedCount(example));
}

const maskedCount = ({ maskedIds }: EncodedAnswer) =>
  maskedIds ? Array.from(maskedIds).filter((id) => id >= 0).length : 0;

/**
 * Packs examples into one forward pass. Each loss weight is divided by `totalWeight`, the sum over the whole step, so that gradient
 * accumulation gives the loss and gradient of one large batch. With `sharePrefixes` common prefixes are computed once; loss and gradient do
 * not change. Rows are numbered by their tokens and all before them ({@link rowNumbersOf}), so dropout draws the same masks whether and where
 * a prefix is shared.
 */
export function packExamples(
  examples: readonly EncodedAnswer[],
  promptLoss: number,
  totalWeight: number,
  sharePrefixes = false,
  promptAttention: PromptAttention = "causal",
): TrainingBatch {
  // The last answer token is only a target.
  const sequences = examples.map(({ promptIds, answerIds }) => {
    const sequence = new Int32Array(promptIds.length + answerIds.length - 1);
    for (let i = 0; i < sequence.length; i++) sequence[i] = idAt(promptIds, answerIds, i);
    return sequence;
  });
  const bidirectional = promptAttention === "both" ? examples.map(({ promptIds }) => promptIds.length) : null;
  const { ids, segments, rows } = packSequences(sequences, sharePrefixes, bidirectional);
  const outputRows: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  let answerTokens = 0;
  for (const [index, { promptIds, answerIds, maskedIds, weight: factor = 1 }] of examples.entries()) {
    for (let i = 0; i < sequences[index].length; i++) {
      const masked = i + 1 < promptIds.length ? (maskedIds?.[i + 1] ?? -1) : -1;
      const weight = factor * (i + 1 >= promptIds.length || masked >= 0 ? 1 : promptLoss);
      if (weight === 0) continue;
      outputRows.push(rows[index][i]);
      targets.push(masked >= 0 ? masked : idAt(promptIds, answerIds, i + 1));
      weights.push(weight / totalWeight);
    }
    answerTokens += answerIds.length;
  }
  return {
    tokens: { ids, segments, outputRows: Int32Array.from(outputRows), rowNumbers: rowNumbersOf(sequences, rows) },
    targets: Int32Array.from(targets),
    weights: Float32Array.from(weights),
    tokenCount: ids.length,
    sequenceTokens: sequences.reduce((sum, { length }) => sum + length, 0),
    answerTokens,
  };
}

/**
 * The numbers of packed rows for dropout and noise: a hash of the token and all before it in its sequence. A row has the same number in
 * every pass and in every order, and shared rows are told from no others.
 */
function rowNumbersOf(sequences: readonly Int32Array[], rows: readonly Int32Array[]): Int32Array {
  const numbers = new Int32Array(rows.reduce((sum, { length }) => sum + length, 0));
  let count = 0;
  for (const [index, sequence] of sequences.entries()) {
    let number = 0;
    for (const [i, id] of sequence.entries()) {
      number = mixSeed(number, id);
      numbers[rows[index][i]] = number;
      count = Math.max(count, rows[index][i] + 1);
    }
  }
  return numbers.slice(0, count);
}

function idAt(promptIds: ArrayLike<number>, answerIds: ArrayLike<number>, i: number): number {
  return i < promptIds.length ? promptIds[i] : answerIds[i - promptIds.length];
}
