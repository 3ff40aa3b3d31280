import type { WeightGroup } from "../adapters/method.ts";
import { adapterSchema, attachAdapter } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { Backend, WeightStorage } from "../compute/backend.ts";
import { type KindTime, profileOf } from "../compute/engine/profile.ts";
import { measurePeak, type Peak } from "../compute/peak.ts";
import type { TensorRows } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import { placeDecoder } from "../models/place.ts";
import { recipeSchema, type TrainSettings } from "../recipe/schema.ts";
import type { EncodedExample } from "../train/batches.ts";
import { planSteps } from "../train/batches.ts";
import { type ComputedStep, train } from "../train/train.ts";
import { loraStepFlops, type ShapeName, shapeSpec } from "./shapes.ts";
import { watchTimer } from "./timer.ts";

/** Steps before the measured ones: they pack second copies of the weights and take memory from the system. */
const WARM_STEPS = 2;

export interface TrainStepOptions {
  shape: ShapeName;
  layers?: number;
  storage: WeightStorage;
  sequences: number;
  tokensEach: number;
  /** Tokens of each sequence that carry loss; all of them when equal to tokensEach. */
  answerTokens: number;
  /** Tokens at the beginning that all sequences share; 0 by default. */
  sharedTokens?: number;
  recompute: boolean;
}

export interface TrainStepResult {
  /** Of all sequences. */
  tokens: number;
  /** Of these, the ones that a step computes: shared ones once. */
  computedTokens: number;
  /** Forward and backward passes of a step. */
  passes: number;
  /** Seconds of each measured step, in order. */
  seconds: number[];
  /** As if every token were computed. */
  flops: number;
  /** Of all steps, untimed ones first. */
  losses: number[];
  loadSeconds: number;
  peakBytes: number;
  peakResidentBytes: number;
  /** Of a timer of 100 ms during the steps, untimed ones included. */
  worstTimerDelayMs: number;
  /** The better of the measurements before and after the steps; null on the reference backend. */
  peak: Peak | null;
  /** Times of the measured steps; empty when the backend is not profiled. */
  profile: KindTime[];
}

/** A decoder of a shape with random weights, made quickly: runs of rows are pieces of one block of normal numbers. */
export async function randomDecoder(
  backend: Backend,
  shape: ShapeName,
  layers: number | undefined,
  storage: WeightStorage,
): Promise<Decoder> {
  const spec = shapeSpec(shape, layers);
  const random = createRandom(1);
  const block = Float32Array.from({ length: 1_048_573 }, () => random.normal() * 0.02);
  let chunkCount = 0;
  // No array as large as a matrix: the system takes long to take it back, in the middle of a step, while the event loop waits.
  const rowsOf = (columns: number): TensorRows => ({
    dtype: "F32",
    async *chunks(start, end) {
      const chunkRows = 32 * Math.max(1, Math.floor(block.length / (64 * columns)));
      for (let row = start; row < end; row += chunkRows) {
        const count = Math.min(chunkRows, end - row) * columns;
        const at = (chunkCount++ * 7919) % (block.length - count + 1);
        yield new Uint8Array(block.buffer, at * block.BYTES_PER_ELEMENT, count * block.BYTES_PER_ELEMENT);
      }
    },
  });
  const options = { storage, trainable: false };
  return placeDecoder(backend, spec, familyNamed(spec.family, "bench"), options, {
    vector: async ({ shape: [count] }) => new Float32Array(count).fill(1),
    matrix: async ({ shape: [, columns] }) => rowsOf(columns),
  });
}

/** The same with a fresh adapter: rank 8 on q_proj and v_proj. */
export async function loraDecoder(
  backend: Backend,
  shape: ShapeName,
  layers: number | undefined,
  storage: WeightStorage,
): Promise<{ model: Decoder; groups: WeightGroup[] }> {
  const model = await randomDecoder(backend, shape, layers, storage);
  const targets = ["q_proj", "v_proj"];
  const groups = await attachAdapter(model, adapterSchema.parse({ method: "lora", dropout: 0, targets }), 1);
  return { model, groups };
}

/** Makes LoRA steps (rank 8 on q_proj and v_proj: forward, backward, clipping, AdamW), all on one batch of packed sequences of equal length. */
export interface TrainStepBench {
  /** What is known after the untimed steps, before the first measured one. */
  ready: Pick<
    TrainStepResult,
    "tokens" | "computedTokens" | "passes" | "flops" | "losses" | "loadSeconds" | "peakResidentBytes"
  >;
  /** Makes one measured step; its seconds end when nothing of it is left to compute. */
  step(): Promise<{ seconds: number; loss: number }>;
  /** All that the steps so far have shown. */
  result(): Promise<TrainStepResult>;
}

/** A bench on random weights whose untimed steps are made. */
export async function openTrainStep(backend: Backend, options: TrainStepOptions): Promise<TrainStepBench> {
  const { sequences, tokensEach, answerTokens } = options;
  const started = performance.now();
  const { model, groups } = await loraDecoder(backend, options.shape, options.layers, options.storage);
  await backend.sync();
  const loadSeconds = (performance.now() - started) / 1000;
  const examples = randomExamples(options, model.spec.vocabularySize);
  const settings: TrainSettings = recipeSchema.shape.train.parse({
    // One step for each request, all with the same learning rate.
    epochs: 1e6,
    schedule: "constant",
    warmup: 0,
    batchExamples: sequences,
    learningRate: 1e-4,
    recompute: options.recompute,
  });
  const before = await measurePeak(backend);
  const steps = train(model, groups, examples, planSteps(sequences, settings, 1), settings, 1);
  const measured = { seconds: [] as number[], losses: [] as number[], worstTimerDelayMs: 0 };
  const computed = { computedTokens: 0, passes: 0 };
  const makeStep = async () => {
    const timer = watchTimer();
    const started = performance.now();
    try {
      const { value } = await steps.next();
      await backend.sync();
      const seconds = (performance.now() - started) / 1000;
      const { loss, tokens, passes } = value as ComputedStep;
      computed.computedTokens = tokens;
      computed.passes = passes;
      measured.worstTimerDelayMs = Math.max(measured.worstTimerDelayMs, timer.worstDelayMs());
      measured.losses.push(loss);
      return { seconds, loss };
    } finally {
      timer.stop();
    }
  };
  for (let step = 0; step < WARM_STEPS; step++) await makeStep();
  const warmSteps = profileOf(backend);
  const facts = {
    tokens: sequences * tokensEach,
    ...computed,
    flops: loraStepFlops(model.spec, sequences, tokensEach, sequences * answerTokens),
    loadSeconds,
  };
  return {
    ready: { ...facts, losses: [...measured.losses], peakResidentBytes: peakResidentBytes() },
    async step() {
      const step = await makeStep();
      measured.seconds.push(step.seconds);
      return step;
    },
    async result() {
      const profile = since(warmSteps, profileOf(backend));
      const peak = better(before, await measurePeak(backend));
      const { peakBytes } = backend.memory();
      return { ...facts, ...measured, peakBytes, peakResidentBytes: peakResidentBytes(), peak, profile };
    },
  };
}

/** Times `rounds` whole LoRA steps. */
export async function measureTrainStep(
  backend: Backend,
  options: TrainStepOptions & { rounds: number },
): Promise<TrainStepResult> {
  const bench = await openTrainStep(backend, options);
  for (let round = 0; round < options.rounds; round++) await bench.step();
  return bench.result();
}

function randomExamples(options: TrainStepOptions, vocabulary: number) {
  const { sequences, tokensEach, answerTokens, sharedTokens = 0 } = options;
  const random = createRandom(2);
  const ids = (count: number) => Int32Array.from({ length: count }, () => random.below(vocabulary));
  const promptTokens = tokensEach + 1 - answerTokens;
  if (sharedTokens > promptTokens) {
    throw new UserError(
      `${sharedTokens} tokens are shared, expected at most ${promptTokens}, those before the answer.`,
    );
  }
  const shared = ids(sharedTokens);
  return Array.from(
    { length: sequences },
    // The last answer token is a target only, so a sequence of T tokens has T + 1 ids.
    (): EncodedExample => ({
      promptIds: Int32Array.of(...shared, ...ids(promptTokens - sharedTokens)),
      answerIds: ids(answerTokens),
    }),
  );
}

const peakResidentBytes = () => process.resourceUsage().maxRSS * 1024;

function better(before: Peak | null, after: Peak | null): Peak | null {
  if (before === null || after === null) return null;
  return {
    registers: Math.max(before.registers, after.registers),
    numbers: Math.max(before.numbers, after.numbers),
  };
}

/** What was spent after `before` was taken. */
function since(before: readonly KindTime[], now: readonly KindTime[]): KindTime[] {
  return now.map((time, i) => {
    const past = before[i] ?? { calls: 0, seconds: 0, processorSeconds: 0, flops: 0 };
    return {
      kind: time.kind,
      calls: time.calls - past.calls,
      seconds: time.seconds - past.seconds,
      processorSeconds: time.processorSeconds - past.processorSeconds,
      flops: time.flops - past.flops,
    };
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
