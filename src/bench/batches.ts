import { weightsOf } from "../adapters/method.ts";
import { UserError } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import type { TrainSettings } from "../recipe/schema.ts";
import { type EncodedAnswer, lossWeight, packExamples, planSteps, type TrainingBatch } from "../train/batches.ts";
import { addGradients } from "../train/train.ts";
import type { ShapeName } from "./shapes.ts";
import { loraDecoder } from "./train-step.ts";

/** The ways to lay out a batch, each with what the ones before it have; the last one shares whole prompts only. */
export const BATCH_WAYS = [
  "padded to the longest, head on every token",
  "packed: no padding",
  "answers' tokens only behind the last attention",
  "common beginnings once",
  "prompts read in both directions, equal ones once",
] as const;

export interface BatchWay {
  name: (typeof BATCH_WAYS)[number];
  /** Rows of the layers and of the head in all passes. */
  rows: number;
  headRows: number;
  /** Of all passes together. */
  seconds: number;
  loss: number;
}

export interface BatchOptions {
  shape: ShapeName;
  layers?: number;
  /** Forward and backward passes to measure. */
  passes: number;
  /** Times that every pass is measured; the quickest counts. */
  rounds: number;
  settings: TrainSettings;
  seed: number;
}

/** Times the forward and backward passes of a run's first batches (LoRA, random weights) in every way, in turn. */
export async function measureBatches(
  backend: Backend,
  examples: readonly EncodedAnswer[],
  options: BatchOptions,
  onPass: (done: number, all: number) => void = () => {},
): Promise<BatchWay[]> {
  const { settings, seed } = options;
  const { model, groups } = await loraDecoder(backend, options.shape, options.layers, "bfloat16");
  const { vocabularySize } = model.spec;
  const tooLarge = (ids: ArrayLike<number>) => Array.from(ids).some((id) => id >= vocabularySize);
  if (examples.some(({ promptIds, answerIds }) => tooLarge(promptIds) || tooLarge(answerIds))) {
    throw new UserError(`The tokenizer has more pieces than shape ${options.shape}: ${vocabularySize}.`, {
      hint: "Choose another --shape, or a recipe with a smaller tokenizer.",
    });
  }
  const plan = planSteps(examples.length, { ...settings, accumulation: 1 }, seed);
  const count = Math.min(options.passes, plan.totalSteps);
  const ways: BatchWay[] = BATCH_WAYS.map((name) => ({ name, rows: 0, headRows: 0, seconds: 0, loss: 0 }));
  const all = (count + 1) * options.rounds;
  for (let pass = -1; pass < count; pass++) {
    const chosen = plan.examplesOf(Math.max(0, pass)).map((index) => examples[index]);
    const batches = layOut(chosen, settings.promptLoss);
    const best = ways.map(() => Number.POSITIVE_INFINITY);
    for (let round = 0; round < options.rounds; round++) {
      for (const [i, batch] of batches.entries()) {
        const started = performance.now();
        const loss = await addGradients(model, batch, settings, seed);
        await backend.sync();
        best[i] = Math.min(best[i], (performance.now() - started) / 1000);
        if (round === 0 && pass >= 0) ways[i].loss += loss / count;
      }
      onPass((pass + 1) * options.rounds + round + 1, all);
    }
    // The first pass once before, to pack weights and to take memory from the system.
    if (pass < 0) continue;
    for (const [i, way] of ways.entries()) {
      way.rows += batches[i].tokens.ids.length;
      way.headRows += batches[i].targets.length;
      way.seconds += best[i];
    }
  }
  backend.zeroGradients(weightsOf(groups));
  return ways;
}

function layOut(examples: readonly EncodedAnswer[], promptLoss: number): TrainingBatch[] {
  const total = lossWeight(examples, promptLoss);
  const packed = packExamples(examples, promptLoss, total);
  const shared = packExamples(examples, promptLoss, total, true);
  const both = packExamples(examples, promptLoss, total, true, "both");
  return [padded(packed), everywhere(packed), packed, shared, both];
}

/** The head on every row; rows that were without loss have weight 0. */
function everywhere(batch: TrainingBatch): TrainingBatch {
  const { ids } = batch.tokens;
  const targets = new Int32Array(ids.length);
  const weights = new Float32Array(ids.length);
  for (const [i, row] of (batch.tokens.outputRows as Int32Array).entries()) {
    targets[row] = batch.targets[i];
    weights[row] = batch.weights[i];
  }
  const outputRows = Int32Array.from(ids, (_, row) => row);
  return { ...batch, tokens: { ...batch.tokens, outputRows }, targets, weights };
}

/** As frameworks do without packing: every sequence as long as the longest, padding behind. */
function padded(packed: TrainingBatch): TrainingBatch {
  const { targets, weights, tokens } = everywhere(packed);
  const longest = Math.max(...tokens.segments.map(({ length }) => length));
  const size = tokens.segments.length * longest;
  const ids = new Int32Array(size);
  const paddedTargets = new Int32Array(size);
  const paddedWeights = new Float32Array(size);
  for (const [i, { start, length }] of tokens.segments.entries()) {
    ids.set(tokens.ids.subarray(start, start + length), i * longest);
    paddedTargets.set(targets.subarray(start, start + length), i * longest);
    paddedWeights.set(weights.subarray(start, start + length), i * longest);
  }
  const segments = tokens.segments.map((_, i) => ({
    start: i * longest,
    length: longest,
    keyStart: i * longest,
    position: 0,
    context: [],
  }));
  const outputRows = Int32Array.from(ids, (_, row) => row);
  return {
    ...packed,
    tokens: { ids, segments, outputRows },
    targets: paddedTargets,
    weights: paddedWeights,
  };
}
