import type { Backend, Weight } from "../compute/backend.ts";
import { divergence, type UpdateSettings, updateWeights } from "./optimizer.ts";

/** Of the gradient of Muon's matrices; engines/torch/pretrain.py has the same. */
const MOMENTUM = 0.95;
/** Of Muon's rate, for the weights that AdamW updates next to it. */
const REST_FACTOR = 0.5;

/** Weights by what updates them. */
export interface MuonWeights {
  /** The layers' matrices, which Muon updates. */
  matrices: readonly Weight[];
  /** Embedding, output layer, norms and biases, which AdamW updates. */
  rest: readonly Weight[];
}

/**
 * One update by Muon, and of `rest` by clipped AdamW at half the rate; gradients are zeroed. Muon's update does not depend on the size of the
 * gradient, so its matrices are not clipped. Returns the norm of the whole gradient before clipping. Throws a UserError when the norm is not
 * a number, before any weight is touched.
 */
export async function updateByMuon(
  backend: Backend,
  { matrices, rest }: MuonWeights,
  settings: UpdateSettings,
  learningRate: number,
  step: number,
): Promise<number> {
  const normTensor = backend.gradientNorm(matrices);
  const [norm] = await backend.read(normTensor);
  backend.free(normTensor);
  if (!Number.isFinite(norm)) throw divergence("norm of the gradient", norm, step + 1);
  const group = { weights: rest, learningRateFactor: REST_FACTOR };
  const restNorm = await updateWeights(backend, [group], settings, learningRate, step);
  backend.muon(matrices, { learningRate, momentum: MOMENTUM, weightDecay: settings.weightDecay });
  backend.zeroGradients(matrices);
  return Math.hypot(norm, restNorm);
}
