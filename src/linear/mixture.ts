import { UserError } from "../base/errors.ts";

/** Probabilities of one row by two models over the same labels, and the places of its gold labels. */
export interface MixtureRow {
  a: ArrayLike<number>;
  b: ArrayLike<number>;
  gold: readonly number[];
}

/** Keeps a probability of 0 from vetoing a label for ever. */
const LEAST_PROBABILITY = 1e-9;

/** How two models are mixed: probabilities are proportional to (a^(1 − weight) · b^weight)^(1 / temperature). */
export interface Mixture {
  /** The weight of the second model, 0..1. */
  weight: number;
  /** Above 1 for less sure probabilities. */
  temperature: number;
}

/**
 * The probabilities of two models as one {@link Mixture}; they add up to 1. Throws a UserError for different lengths, a weight outside of
 * [0, 1] or a temperature that is not positive.
 */
export function mixProbabilities(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { weight, temperature }: Mixture,
): Float64Array {
  if (a.length !== b.length || a.length === 0) {
    throw new UserError(
      `Mixture: got ${a.length} and ${b.length} probabilities, expected one for each label from both.`,
    );
  }
  if (!(weight >= 0 && weight <= 1)) throw new UserError(`Mixture: got the weight ${weight}, expected 0 to 1.`);
  if (!(temperature > 0)) throw new UserError(`Mixture: got the temperature ${temperature}, expected more than 0.`);
  return powersOf(a, b, (1 - weight) / temperature, weight / temperature);
}

/** Powers with the exponents u and v, normalized. */
function powersOf(a: ArrayLike<number>, b: ArrayLike<number>, u: number, v: number): Float64Array {
  const result = new Float64Array(a.length);
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < a.length; i++) {
    result[i] = u * safeLog(a[i]) + v * safeLog(b[i]);
    if (result[i] > most) most = result[i];
  }
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    result[i] = Math.exp(result[i] - most);
    sum += result[i];
  }
  for (let i = 0; i < a.length; i++) result[i] /= sum;
  return result;
}

const safeLog = (probability: number): number => Math.log(Math.max(probability, LEAST_PROBABILITY));

const NEWTON_STEPS = 50;
/** A ridge on the exponents, as a share of a row: keeps them finite when one model is right on every row. */
const RIDGE = 1e-3;

/** Bounds of a fitted temperature: a few rows that are all right, or all wrong, must not make every probability 1, or all of them equal. */
const TEMPERATURES = { least: 0.25, most: 4 };

/**
 * The {@link Mixture} fitted on rows that neither model was trained on. Both exponents u, v ≥ 0 of a^u · b^v are fitted by log-likelihood, which
 * is concave in them: the weight is v / (u + v), the temperature 1 / (u + v), so that the mixture is calibrated where each model alone need not
 * be (temperature scaling, Guo et al. 2017). The most probable label depends on the weight alone. Unlike F1 the likelihood does not jump
 * with single rows. A row with several gold labels counts each with an equal share. Throws a UserError for no rows or a row without gold.
 */
export function fitMixture(rows: readonly MixtureRow[]): Mixture {
  if (rows.length === 0) throw new UserError("Mixture: got no rows to fit the weight on, expected validation rows.");
  for (const [row, { a, b, gold }] of rows.entries()) {
    if (a.length !== b.length || gold.length === 0 || gold.some((place) => !(place >= 0 && place < a.length))) {
      throw new UserError(
        `Mixture, row ${row + 1}: got ${a.length} and ${b.length} probabilities and the gold labels [${gold}], expected as long lists and at least one gold label of them.`,
      );
    }
  }
  const both = climb(rows, [0.5, 0.5], [true, true]);
  // The optimum of a concave function over a quadrant lies on its edge when the free one has a negative exponent.
  const [u, v] = both.some((exponent) => exponent < 0) ? bestEdge(rows) : both;
  const sum = u + v;
  const { least, most } = TEMPERATURES;
  return { weight: sum > 0 ? v / sum : 0.5, temperature: Math.min(most, Math.max(least, 1 / sum)) };
}

function bestEdge(rows: readonly MixtureRow[]): [number, number] {
  const onlyA: [number, number] = [Math.max(0, climb(rows, [1, 0], [true, false])[0]), 0];
  const onlyB: [number, number] = [0, Math.max(0, climb(rows, [0, 1], [false, true])[1])];
  return derivatives(rows, onlyA).value >= derivatives(rows, onlyB).value ? onlyA : onlyB;
}

/** Newton's method with halved steps on the free exponents. */
function climb(rows: readonly MixtureRow[], start: [number, number], free: [boolean, boolean]): [number, number] {
  let at = start;
  let here = derivatives(rows, at);
  for (let i = 0; i < NEWTON_STEPS; i++) {
    const step = newtonStep(here, free);
    let scale = 1;
    let next = at;
    let there = here;
    for (; scale > 1e-6; scale /= 2) {
      next = [at[0] + scale * step[0], at[1] + scale * step[1]];
      there = derivatives(rows, next);
      if (there.value > here.value) break;
    }
    if (!(there.value > here.value)) break;
    [at, here] = [next, there];
  }
  return at;
}

interface Derivatives {
  value: number;
  gradient: [number, number];
  /** −∂²/∂u², −∂²/∂u∂v, −∂²/∂v² */
  curvature: [number, number, number];
}

function newtonStep({ gradient: [g, h], curvature: [uu, uv, vv] }: Derivatives, free: [boolean, boolean]): number[] {
  if (!free[1]) return [g / uu, 0];
  if (!free[0]) return [0, h / vv];
  const determinant = uu * vv - uv * uv;
  return [(vv * g - uv * h) / determinant, (uu * h - uv * g) / determinant];
}

/** Mean log-likelihood of the gold labels minus the ridge, with its derivatives in the exponents. */
function derivatives(rows: readonly MixtureRow[], [u, v]: [number, number]): Derivatives {
  let value = -(RIDGE / 2) * (u * u + v * v);
  const gradient: [number, number] = [-RIDGE * u, -RIDGE * v];
  const curvature: [number, number, number] = [RIDGE, 0, RIDGE];
  for (const { a, b, gold } of rows) {
    const probabilities = powersOf(a, b, u, v);
    let [meanA, meanB, squareA, product, squareB] = [0, 0, 0, 0, 0];
    for (const [label, p] of probabilities.entries()) {
      const [x, y] = [safeLog(a[label]), safeLog(b[label])];
      meanA += p * x;
      meanB += p * y;
      squareA += p * x * x;
      product += p * x * y;
      squareB += p * y * y;
    }
    for (const label of gold) {
      const share = 1 / (gold.length * rows.length);
      value += share * Math.log(Math.max(probabilities[label], Number.MIN_VALUE));
      gradient[0] += share * (safeLog(a[label]) - meanA);
      gradient[1] += share * (safeLog(b[label]) - meanB);
    }
    curvature[0] += (squareA - meanA * meanA) / rows.length;
    curvature[1] += (product - meanA * meanB) / rows.length;
    curvature[2] += (squareB - meanB * meanB) / rows.length;
  }
  return { value, gradient, curvature };
}
