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

/**
 * The mean of the answers: each counts with the probabilities of its labels, or without them as a whole vote for its label. Of labels with equal
 * shares the one that was answered first is taken. Null without an answer.
 */
export function verdictOf(votes: readonly Vote[], labels: readonly string[]): Verdict | null {
  if (votes.length === 0) return null;
  const shares = new Float64Array(labels.length);
  for (const { label, probabilities } of votes) {
    for (const i of shares.keys()) {
      shares[i] += (probabilities ? probabilities[i] : Number(labels[i] === label)) / votes.length;
    }
  }
  const most = Math.max(...shares);
  // Sums of thirds differ in their last digits.
  const best = labels.filter((_, i) => shares[i] > most - 1e-9);
  const label = votes.find((vote) => best.includes(vote.label))?.label ?? best[0];
  const next = Math.max(0, ...shares.filter((_, i) => labels[i] !== label));
  const agreement = votes.filter((vote) => vote.label === label).length / votes.length;
  return { label, shares, agreement, margin: Math.max(0, shares[labels.indexOf(label)] - next) };
}
