import type { PretrainSettings } from "./recipe.ts";

/** A final phase that --decay-now started: linear from the rate at `startStep` to the final rate, over `steps`. */
export interface Decay {
  startStep: number;
  steps: number;
}

/** The number of updates of the whole run. */
export function totalSteps(settings: PretrainSettings, decay: Decay | null): number {
  return decay ? decay.startStep + decay.steps : settings.steps;
}

/** The first step of the trapezoid's final phase, counted from 0; infinite for a cosine that no --decay-now ends. */
export function finalStep({ schedule, steps, decaySteps }: PretrainSettings, decay: Decay | null): number {
  if (decay) return decay.startStep;
  return schedule === "trapezoid" ? steps - decaySteps : Number.POSITIVE_INFINITY;
}

/** The learning rate of one step, counted from 0. */
export function pretrainingRateAt(settings: PretrainSettings, decay: Decay | null, step: number): number {
  const { learningRate, finalLearningRate } = settings;
  const last = learningRate * finalLearningRate;
  if (!decay || step < decay.startStep) return plannedRateAt(settings, step);
  const first = plannedRateAt(settings, Math.max(0, decay.startStep - 1));
  // The last step keeps a rate above the final one.
  return first + (Math.min(first, last) - first) * ((step - decay.startStep) / decay.steps);
}

function plannedRateAt(settings: PretrainSettings, step: number): number {
  const { learningRate, finalLearningRate, warmupSteps, decaySteps, steps, schedule } = settings;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const start = schedule === "trapezoid" ? steps - decaySteps : warmupSteps;
  if (step < start) return learningRate;
  const progress = Math.min(1, (step - start) / Math.max(1, steps - start));
  const left = schedule === "trapezoid" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
  return learningRate * (finalLearningRate + (1 - finalLearningRate) * left);
}
