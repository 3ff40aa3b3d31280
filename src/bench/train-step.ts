import { attachAdapter } from "../adapters/adapter.ts";
import { createRandom } from "../base/random.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { measurePeak, type Peak } from "../compute/peak.ts";
import { type KindTime, profileOf } from "../compute/profile.ts";
import type { Decoder } from "../models/decoder.ts";
import { buildDecoder } from "../models/load.ts";
import { familyNamed } from "../models/registry.ts";
import type { EncodedExample } from "../train/batches.ts";
import { planSteps } from "../train/batches.ts";
import { recipeSchema, type TrainSettings } from "../train/recipe.ts";
import { train } from "../train/train.ts";
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
  rounds: number;
  recompute: boolean;
}

export interface TrainStepResult {
  tokens: number;
  /** Seconds of each measured step, in order. */
  seconds: number[];
  flops: number;
  losses: number[];
  loadSeconds: number;
  peakBytes: number;
  peakResidentBytes: number;
  /** Of a timer of 100 ms during the steps. */
  worstTimerDelayMs: number;
  /** The better of the measurements before and after the steps; null on the reference backend. */
  peak: Peak | null;
  /** Times of the measured steps; empty when the backend is not profiled. */
  profile: KindTime[];
}

/** A decoder of a shape with random weights, made quickly: one block of normal numbers is repeated with a shifting start. */
export async function randomDecoder(
  backend: Backend,
  shape: ShapeName,
  layers: number | undefined,
  storage: WeightStorage,
): Promise<Decoder> {
  const spec = shapeSpec(shape, layers);
  const random = createRandom(1);
  const block = Float32Array.from({ length: 1_048_573 }, () => random.normal() * 0.02);
  let start = 0;
  return buildDecoder(backend, spec, familyNamed("llama", "bench"), { storage, trainable: false }, async (_, dims) => {
    if (dims.length === 1) return new Float32Array(dims[0]).fill(1);
    const values = new Float32Array(dims[0] * dims[1]);
    for (let at = 0; at < values.length; at += block.length) {
      values.set(block.subarray(0, Math.min(block.length, values.length - at)), at);
    }
    start = (start + 7919) % block.length;
    values[start % values.length] = 0.01;
    return values;
  });
}

/** The same with a fresh adapter: rank 8 on q_proj and v_proj. */
export async function loraDecoder(
  backend: Backend,
  shape: ShapeName,
  layers: number | undefined,
  storage: WeightStorage,
): Promise<{ model: Decoder; weights: Weight[] }> {
  const model = await randomDecoder(backend, shape, layers, storage);
  const targets = ["q_proj", "v_proj"];
  return { model, weights: attachAdapter(model, { method: "lora", rank: 8, alpha: 32, dropout: 0, targets }, 1) };
}

/** Times whole LoRA steps (rank 8 on q_proj and v_proj: forward, backward, clipping, AdamW) on packed sequences of equal length. */
export async function measureTrainStep(backend: Backend, options: TrainStepOptions): Promise<TrainStepResult> {
  const { sequences, tokensEach, answerTokens, rounds } = options;
  const started = performance.now();
  const { model, weights } = await loraDecoder(backend, options.shape, options.layers, options.storage);
  await backend.sync();
  const loadSeconds = (performance.now() - started) / 1000;
  const random = createRandom(2);
  const ids = (count: number) => Int32Array.from({ length: count }, () => random.below(model.spec.vocabularySize));
  const examples: EncodedExample[] = Array.from({ length: sequences }, () => ({
    // The last answer token is a target only, so a sequence of T tokens has T + 1 ids.
    promptIds: ids(tokensEach + 1 - answerTokens),
    answerIds: ids(answerTokens),
  }));
  const settings: TrainSettings = recipeSchema.shape.train.parse({
    epochs: rounds + WARM_STEPS,
    batchExamples: sequences,
    learningRate: 1e-4,
    recompute: options.recompute,
  });
  const plan = planSteps(sequences, settings, 1);
  const before = await measurePeak(backend);
  const timer = watchTimer();
  let warmSteps: KindTime[] = [];
  const seconds: number[] = [];
  const losses: number[] = [];
  for await (const step of train(model, weights, examples, plan, settings, 1)) {
    if (step.step > WARM_STEPS) seconds.push(step.seconds);
    else warmSteps = profileOf(backend);
    losses.push(step.loss);
  }
  const worstTimerDelayMs = timer.worstDelayMs();
  timer.stop();
  await backend.sync();
  const profile = since(warmSteps, profileOf(backend));
  const after = await measurePeak(backend);
  return {
    tokens: sequences * tokensEach,
    seconds,
    flops: loraStepFlops(model.spec, sequences, tokensEach, sequences * answerTokens),
    losses,
    loadSeconds,
    peakBytes: backend.memory().peakBytes,
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
    worstTimerDelayMs,
    peak:
      before === null || after === null
        ? null
        : {
            registers: Math.max(before.registers, after.registers),
            numbers: Math.max(before.numbers, after.numbers),
          },
    profile,
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
