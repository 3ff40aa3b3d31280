/**
 * How often answers are right, fitted to how far the answers to the same row agree. The share of right answers differs from row to row: it is
 * Beta(accuracy · spread, (1 − accuracy) · spread). A wrong answer is any other label, each as likely as the next, and answers to a row differ only
 * by chance; Dawid and Skene (1979) fit such models to several annotators.
 */
export interface AnswerModel {
  /** Mean share of right answers, in (0, 1). */
  accuracy: number;
  /** Large where every row is as hard as the next, small where some are easy and some are a guess. */
  spread: number;
  /** By label of the label set how often it is the right one; adds up to 1. */
  prior: Float64Array;
}

/** The answers to one row. */
export interface RowAnswers {
  /** By label of the label set: how many answers give it. */
  counts: ArrayLike<number>;
  /** Labels that the row may have. */
  choices: number;
}

const ACCURACIES = Array.from({ length: 160 }, (_, i) => 0.2 + i * 0.005);
const SPREADS = Array.from({ length: 17 }, (_, i) => 2 ** (i / 2));
/** What is expected before any answer, for tables of few rows: worth three right answers, and a spread of 5 times or by a few. */
const EXPECTED = { right: 3, spread: 5, deviation: 1.5 };

/** The model of the answers to rows; null where no row has several, since then nothing says how often they are right. */
export function fitAnswers(rows: readonly RowAnswers[], labels: number): AnswerModel | null {
  const patterns = new Map<string, { given: number[]; choices: number; rows: number }>();
  const totals = new Float64Array(labels).fill(1);
  for (const { counts, choices } of rows) {
    const given: number[] = [];
    for (let i = 0; i < labels; i++) {
      totals[i] += counts[i];
      if (counts[i] > 0) given.push(counts[i]);
    }
    if (choices < 2 || sumOf(given) < 2) continue;
    const key = `${choices} ${given.sort((a, b) => b - a)}`;
    const pattern = patterns.get(key);
    if (pattern) pattern.rows++;
    else patterns.set(key, { given, choices, rows: 1 });
  }
  if (patterns.size === 0) return null;
  const prior = totals.map((count) => count / sumOf(totals));
  let best = { accuracy: 0, spread: 0, score: Number.NEGATIVE_INFINITY };
  for (const accuracy of ACCURACIES) {
    for (const spread of SPREADS) {
      let score = EXPECTED.right * Math.log(accuracy);
      score -= (Math.log(spread / EXPECTED.spread) / EXPECTED.deviation) ** 2 / 2;
      for (const { given, choices, rows } of patterns.values()) {
        const all = sumOf(given);
        const logs = given.map((count) => logLikelihood({ accuracy, spread }, count, all, choices));
        const left = choices - given.length;
        if (left > 0) logs.push(Math.log(left) + logLikelihood({ accuracy, spread }, 0, all, choices));
        score += rows * logSumExp(logs);
      }
      if (score > best.score) best = { accuracy, spread, score };
    }
  }
  return { accuracy: best.accuracy, spread: best.spread, prior };
}

/** By label the probability that it is right, given the answers to a row. Only labels that an answer gives have any. */
export function probabilitiesOf(model: AnswerModel, { counts, choices }: RowAnswers): Float64Array {
  const all = sumOf(counts);
  const logs = Float64Array.from(model.prior, (prior, i) =>
    counts[i] === 0 ? Number.NEGATIVE_INFINITY : Math.log(prior) + logLikelihood(model, counts[i], all, choices),
  );
  const sum = logSumExp(logs);
  return logs.map((log) => Math.exp(log - sum));
}

/** The logarithm of the probability of `all` answers of which `right` are right; each wrong one is one of the other choices. */
function logLikelihood(model: Pick<AnswerModel, "accuracy" | "spread">, right: number, all: number, choices: number) {
  const [a, b] = [model.accuracy * model.spread, (1 - model.accuracy) * model.spread];
  const wrong = all - right;
  return logRising(a, right) + logRising(b, wrong) - logRising(a + b, all) - wrong * Math.log(Math.max(1, choices - 1));
}

/** The logarithm of from · (from + 1) · … of `count` factors. */
function logRising(from: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.log(from + i);
  return sum;
}

function logSumExp(logs: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logs.length; i++) most = Math.max(most, logs[i]);
  let sum = 0;
  for (let i = 0; i < logs.length; i++) sum += Math.exp(logs[i] - most);
  return most + Math.log(sum);
}

function sumOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}
