import type { Backend, Weight } from "../compute/backend.ts";

/**
 * The mean of the weights at many steps of a training. The last steps wander around it, and it does better on rows that were not trained on
 * ("Averaging Weights Leads to Wider Optima and Better Generalization", Izmailov et al. 2018, arXiv 1803.05407).
 */
export interface WeightAverage {
  /** Number of calls of `add`, those before the run was resumed included. */
  readonly count: number;
  /** The means in the order of the weights; empty while the count is 0. */
  readonly values: readonly Float32Array[];
  /** Adds the present weights to the mean. */
  add(): Promise<void>;
  /** Runs `body` with the mean in place of the weights, then restores them. */
  during<T>(body: () => Promise<T>): Promise<T>;
}

/** Starts a mean, or continues one of `count` points. */
export function createWeightAverage(
  backend: Backend,
  weights: readonly Weight[],
  begun: { count: number; values: readonly Float32Array[] } = { count: 0, values: [] },
): WeightAverage {
  let count = begun.count;
  const values = begun.values.map((value) => Float32Array.from(value));
  const put = (all: readonly ArrayLike<number>[]) => {
    for (const [i, weight] of weights.entries()) backend.writeWeight(weight, all[i]);
  };
  return {
    get count() {
      return count;
    },
    values,
    async add() {
      count++;
      for (const [i, weight] of weights.entries()) {
        const now = await backend.readWeight(weight);
        values[i] ??= new Float32Array(now.length);
        const mean = values[i];
        for (let j = 0; j < mean.length; j++) mean[j] += (now[j] - mean[j]) / count;
      }
    },
    async during(body) {
      const held = await Promise.all(weights.map(async (weight) => (await backend.readWeight(weight)).slice()));
      put(values);
      try {
        return await body();
      } finally {
        put(held);
      }
    },
  };
}
