import type { Weight } from "../compute/backend.ts";
import type { Decoder } from "../models/decoder.ts";
import { LINEAR_SLOTS, parameterCount } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { lossWeight, packExamples } from "../train/batches.ts";
import { type MuonWeights, updateByMuon } from "../train/muon.ts";
import { divergence, updateWeights } from "../train/optimizer.ts";
import { addGradients } from "../train/train.ts";
import type { PretrainSettings } from "./recipe.ts";
import { type Decay, pretrainingRateAt, totalSteps } from "./schedule.ts";
import type { SequencePlan } from "./sequences.ts";

/** One update of the weights. */
export interface PretrainStep {
  /** Number of updates made, from 1. */
  step: number;
  /** Mean loss of a target, in nats. */
  loss: number;
  learningRate: number;
  gradientNorm: number;
  tokens: number;
  seconds: number;
}

/**
 * The pretraining loop: trains all weights on every token of full sequences, of their prefixes only on the masked ones. Yields after every
 * update; the caller prints, validates and saves. The first `startStep` updates were made before. Throws a UserError when the loss or the gradient is not finite.
 */
export async function* pretrain(
  model: Decoder,
  weights: readonly Weight[],
  plan: SequencePlan,
  settings: PretrainSettings,
  decay: Decay | null,
  startStep = 0,
): AsyncGenerator<PretrainStep, void, void> {
  const { backend } = model;
  const { passSequences, accumulation, recompute, prefixShare = 0 } = settings;
  const groups = [{ weights, learningRateFactor: 1 }];
  const byMuon = settings.optimizer === "muon" ? muonWeights(model, weights) : null;
  backend.zeroGradients(weights);
  const last = totalSteps(settings, decay);
  for (let step = startStep; step < last; step++) {
    const started = performance.now();
    const passes = Array.from({ length: accumulation }, (_, pass) => {
      const first = (step * accumulation + pass) * passSequences;
      return Array.from({ length: passSequences }, (_, i) => plan.sequence(first + i)).flat();
    });
    const targets = lossWeight(passes.flat(), 0);
    let tokens = 0;
    let loss = 0;
    for (const parts of passes) {
      const batch = packExamples(parts, 0, targets, false, prefixShare > 0 ? "both" : "causal");
      tokens += batch.tokenCount;
      // Without prefixes every row has a target, so the head computes all of them.
      const isWhole = batch.targets.length === batch.tokenCount;
      const computed = isWhole ? { ...batch, tokens: { ...batch.tokens, outputRows: undefined } } : batch;
      loss += await addGradients(model, computed, { recompute, dropout: 0, labelSmoothing: 0 }, 0);
    }
    if (!Number.isFinite(loss)) throw divergence("loss", loss, step + 1);
    const learningRate = pretrainingRateAt(settings, decay, step);
    const gradientNorm = byMuon
      ? await updateByMuon(backend, byMuon, settings, learningRate, step)
      : await updateWeights(backend, groups, settings, learningRate, step);
    const seconds = (performance.now() - started) / 1000;
    yield { step: step + 1, loss, learningRate, gradientNorm, tokens, seconds };
  }
}

/** The weights that Muon updates, the matrices of the layers, and the others. */
export function muonWeights(model: Decoder, weights: readonly Weight[]): MuonWeights {
  const ofLayers = new Set(model.layers.flatMap((layer) => LINEAR_SLOTS.map((slot) => layer[slot].weight)));
  const isMatrix = (weight: Weight) => ofLayers.has(weight) && weight.rows > 1 && weight.columns > 1;
  return { matrices: weights.filter(isMatrix), rest: weights.filter((weight) => !isMatrix(weight)) };
}

/**
 * Floating-point operations of training on one token of a full sequence: 6 for every parameter of a product (the tied embedding once, as
 * the head), and 12 · C · T/2 per layer for the causal half of attention.
 */
export function flopsPerToken(spec: DecoderSpec, sequenceTokens: number): number {
  const embedding = spec.tiedHead ? 0 : spec.vocabularySize * spec.width;
  const attention = 6 * spec.layers * spec.heads * spec.headWidth * sequenceTokens;
  return 6 * (parameterCount(spec) - embedding) + attention;
}
