import { UserError } from "../base/errors.ts";
import type { Backend, Weight } from "../compute/backend.ts";
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
 * Makes one clipped AdamW update from the accumulated gradients, zeroes them and returns their norm before clipping. Throws a UserError when
 * the norm is not finite, before any weight is changed.
 */
export async function updateWeights(
  backend: Backend,
  weights: readonly Weight[],
  settings: UpdateSettings,
  learningRate: number,
  step: number,
): Promise<number> {
  const normTensor = backend.gradientNorm(weights);
  const [norm] = await backend.read(normTensor);
  backend.free(normTensor);
  if (!Number.isFinite(norm)) throw divergence("norm of the gradient", norm, step + 1);
  const clip = settings.clipNorm > 0 && norm > settings.clipNorm ? settings.clipNorm / norm : 1;
  const { beta1, beta2, epsilon, weightDecay } = settings;
  const common = { learningRate, beta1, beta2, epsilon, step: step + 1, gradientScale: clip };
  // The scales of norm layers are not decayed: pulling a scale to zero does not regularise.
  const matrices = weights.filter((weight) => weight.rows > 1);
  const vectors = weights.filter((weight) => weight.rows === 1);
  if (matrices.length > 0) backend.adamW(matrices, { ...common, weightDecay });
  if (vectors.length > 0) backend.adamW(vectors, { ...common, weightDecay: 0 });
  backend.zeroGradients(weights);
  return norm;
}

/** The error for a loss or gradient that is NaN or infinite. */
export function divergence(what: string, value: number, step: number): UserError {
  return new UserError(`The ${what} became ${value} at step ${step}.`, {
    hint: "Try a lower train.learningRate or a longer train.warmup. The last checkpoint is unchanged.",
  });
}
