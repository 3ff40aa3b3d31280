import { type WeightGroup, weightsOf } from "../adapters/method.ts";
import { UserError } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import type { TrainSettings } from "../recipe/schema.ts";

/** The learning rate of one step (0-based) of `totalSteps`: linear warm-up, then cosine, linear or constant. */
export function learningRateAt(settings: TrainSettings, step: number, totalSteps: number): number {
  const { learningRate, schedule, warmup, finalLearningRate } = settings;
  const warmupSteps = Math.ceil(warmup * totalSteps);
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  const left = { cosine: (1 + Math.cos(Math.PI * progress)) / 2, linear: 1 - progress, constant: 1 }[schedule];
  return learningRate * (schedule === "constant" ? 1 : finalLearningRate + (1 - finalLearningRate) * left);
}

/** The settings of a clipped AdamW update. */
export type UpdateSettings = Pick<TrainSettings, "clipNorm" | "beta1" | "beta2" | "epsilon" | "weightDecay">;

/**
 * One clipped AdamW update from the accumulated gradients, which are zeroed; returns the norm of the whole gradient before clipping. Throws a
 * UserError when the norm is not a number, before any weight is touched.
 */
export async function updateWeights(
  backend: Backend,
  groups: readonly WeightGroup[],
  settings: UpdateSettings,
  learningRate: number,
  step: number,
): Promise<number> {
  const weights = weightsOf(groups);
  const normTensor = backend.gradientNorm(weights);
  const [norm] = await backend.read(normTensor);
  backend.free(normTensor);
  if (!Number.isFinite(norm)) throw divergence("norm of the gradient", norm, step + 1);
  const clip = settings.clipNorm > 0 && norm > settings.clipNorm ? settings.clipNorm / norm : 1;
  const { beta1, beta2, epsilon, weightDecay } = settings;
  for (const group of groups) {
    const rate = learningRate * group.learningRateFactor;
    const common = { learningRate: rate, beta1, beta2, epsilon, step: step + 1, gradientScale: clip };
    // Norms are not decayed: pulling a scale to zero is no regularisation.
    const matrices = group.weights.filter((weight) => weight.rows > 1);
    const vectors = group.weights.filter((weight) => weight.rows === 1);
    if (matrices.length > 0) backend.adamW(matrices, { ...common, weightDecay });
    if (vectors.length > 0) backend.adamW(vectors, { ...common, weightDecay: 0 });
  }
  backend.zeroGradients(weights);
  return norm;
}

/** The error for a loss or gradient that is NaN or infinite. */
export function divergence(what: string, value: number, step: number): UserError {
  return new UserError(`The ${what} became ${value} at step ${step}.`, {
    hint: "Try a lower train.learningRate or a longer train.warmup. The last checkpoint is unchanged.",
  });
}
