/** How label probabilities are calibrated: they are raised to 1 / temperature, "no relation" is multiplied by a factor, and they add up to 1 again. */
export interface Scale {
  /** Above 1 for less sure probabilities. */
  temperature: number;
  /** Below 1 where "no relation" was given more than it was right. */
  noRelation: number;
}

/** Changes nothing. */
export const PLAIN_SCALE: Scale = { temperature: 1, noRelation: 1 };

/** Probabilities of one row, and the places of its gold labels. */
export interface ScaleRow {
  probabilities: ArrayLike<number>;
  gold: readonly number[];
}

/** Keeps a probability of 0 from being certain. */
const LEAST_PROBABILITY = 1e-9;
const NEWTON_STEPS = 50;
/** A pull to {@link PLAIN_SCALE}, as a share of a row: few rows that are all right or all wrong say little. */
const RIDGE = 1e-3;
const BOUNDS = { temperature: { least: 0.25, most: 4 }, noRelation: { least: 1 / 16, most: 16 } };

/** Calibrated probabilities; `none` is the place of "no relation", −1 without one. */
export function scaledProbabilities(
  probabilities: ArrayLike<number>,
  none: number,
  { temperature, noRelation }: Scale,
): Float64Array {
  return softmaxOf(probabilities, none, [1 / temperature, Math.log(noRelation)]);
}

function softmaxOf(probabilities: ArrayLike<number>, none: number, [power, bias]: readonly number[]): Float64Array {
  const scores = Float64Array.from(probabilities, (p, i) => power * safeLog(p) + (i === none ? bias : 0));
  const most = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, p) => total + p, 0);
  return powers.map((p) => p / sum);
}

const safeLog = (probability: number): number => Math.log(Math.max(probability, LEAST_PROBABILITY));
const within = (value: number, { least, most }: { least: number; most: number }) =>
  Math.min(most, Math.max(least, value));

/**
 * The {@link Scale} with the highest likelihood on rows that the model was not trained on: temperature scaling (Guo et al. 2017) and one bias, because
 * the share of "no relation" differs most between what a model was trained on and what it is given. The likelihood is concave in both. A row
 * with several gold labels counts each with an equal share.
 */
export function fitScale(rows: readonly ScaleRow[], none: number): Scale {
  let at = [1, 0];
  let here = derivatives(rows, none, at);
  for (let i = 0; i < NEWTON_STEPS; i++) {
    const step = newtonStep(here, none >= 0);
    let next = at;
    let there = here;
    for (let size = 1; size > 1e-6; size /= 2) {
      next = at.map((value, k) => value + size * step[k]);
      there = derivatives(rows, none, next);
      if (there.value > here.value) break;
    }
    if (!(there.value > here.value)) break;
    [at, here] = [next, there];
  }
  const [power, bias] = at;
  return {
    temperature: power > 0 ? within(1 / power, BOUNDS.temperature) : BOUNDS.temperature.most,
    noRelation: within(Math.exp(bias), BOUNDS.noRelation),
  };
}

interface Derivatives {
  value: number;
  gradient: [number, number];
  /** −∂²/∂power², −∂²/∂power∂bias, −∂²/∂bias² */
  curvature: [number, number, number];
}

function newtonStep({ gradient: [g, h], curvature: [pp, pb, bb] }: Derivatives, hasNone: boolean): number[] {
  if (!hasNone) return [g / pp, 0];
  const determinant = pp * bb - pb * pb;
  return [(bb * g - pb * h) / determinant, (pp * h - pb * g) / determinant];
}

/** Mean log-likelihood of the gold labels less the ridge. */
function derivatives(rows: readonly ScaleRow[], none: number, at: readonly number[]): Derivatives {
  const [power, bias] = at;
  let value = -(RIDGE / 2) * ((power - 1) ** 2 + bias ** 2);
  const gradient: [number, number] = [-RIDGE * (power - 1), -RIDGE * bias];
  const curvature: [number, number, number] = [RIDGE, 0, RIDGE];
  for (const { probabilities, gold } of rows) {
    const shown = softmaxOf(probabilities, none, at);
    const share = none >= 0 ? shown[none] : 0;
    let [mean, square, product] = [0, 0, 0];
    for (const [label, p] of shown.entries()) {
      const x = safeLog(probabilities[label]);
      mean += p * x;
      square += p * x * x;
      if (label === none) product = p * x;
    }
    for (const label of gold) {
      const part = 1 / (gold.length * rows.length);
      value += part * Math.log(Math.max(shown[label], Number.MIN_VALUE));
      gradient[0] += part * (safeLog(probabilities[label]) - mean);
      gradient[1] += part * ((label === none ? 1 : 0) - share);
    }
    curvature[0] += (square - mean * mean) / rows.length;
    curvature[1] += (product - mean * share) / rows.length;
    curvature[2] += (share - share * share) / rows.length;
  }
  return { value, gradient, curvature };
}
