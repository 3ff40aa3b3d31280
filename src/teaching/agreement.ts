import { type AnswerModel, probabilitiesOf, type RowAnswers } from "./answer-model.ts";

/** What one answer says of a row: a label, and where the server gives it the probability of every label. */
export interface Vote {
  label: string;
  probabilities: ArrayLike<number> | null;
}

/** What the answers to a row say together. */
export interface Verdict {
  label: string;
  /** By label of the label set; they add up to 1. */
  shares: Float64Array;
  /** Share of the answers that give the label. */
  agreement: number;
  /** The largest share without the next one: 0 is a tie. */
  margin: number;
}

/** The answers to a row as counts; null where one has probabilities, which say more. */
export function countsOf(votes: readonly Vote[], labels: readonly string[], choices: number): RowAnswers | null {
  if (votes.length === 0 || votes.some(({ probabilities }) => probabilities !== null)) return null;
  const counts = labels.map((name) => votes.filter(({ label }) => label === name).length);
  return { counts, choices };
}

/**
 * What the answers to a row say together. With a model of the answers a label's share is the probability that it is right. Without one, or where
 * the server tells probabilities, it is the mean of the answers: each counts with the probabilities of its labels, or as a whole vote. Of labels with
 * equal shares the one that was answered first is taken. Null without an answer.
 *
 * @param choices how many of the labels the row may have
 */
export function verdictOf(
  votes: readonly Vote[],
  labels: readonly string[],
  { model = null, choices = labels.length }: { model?: AnswerModel | null; choices?: number } = {},
): Verdict | null {
  if (votes.length === 0) return null;
  const counts = model && countsOf(votes, labels, choices);
  const shares = model && counts ? probabilitiesOf(model, counts) : meanOf(votes, labels);
  const most = Math.max(...shares);
  // Sums of thirds differ in their last digits.
  const best = labels.filter((_, i) => shares[i] > most - 1e-9);
  const label = votes.find((vote) => best.includes(vote.label))?.label ?? best[0];
  const next = Math.max(0, ...shares.filter((_, i) => labels[i] !== label));
  const agreement = votes.filter((vote) => vote.label === label).length / votes.length;
  return { label, shares, agreement, margin: Math.max(0, shares[labels.indexOf(label)] - next) };
}

function meanOf(votes: readonly Vote[], labels: readonly string[]): Float64Array {
  const shares = new Float64Array(labels.length);
  for (const { label, probabilities } of votes) {
    for (const i of shares.keys()) {
      shares[i] += (probabilities ? probabilities[i] : Number(labels[i] === label)) / votes.length;
    }
  }
  return shares;
}
