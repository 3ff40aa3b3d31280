/** An example to look at, as POST /v1/uncertain gives it or a file has it. */
export interface QueueItem {
  sentence: string;
  head: string;
  tail: string;
  headSpan?: Span;
  tailSpan?: Span;
  /** What the data says; absent for texts. */
  relations?: string[];
  /** The probability of the best label without that of the next one; null without an answer. */
  margin: number | null;
  predictions?: Prediction[];
  /** Why the model has no answer. */
  error?: string;
}

export interface Prediction {
  relation: string;
  probability: number;
}

type Span = { start: number; end: number } | readonly [number, number];

export type Verdict = "confirmed" | "corrected" | "rejected" | "added";

/** What a person said of an item, and the row that keeps it. */
export interface Judged {
  id: string;
  verdict: Verdict;
  relations: string[];
}

/** Items in the order of uncertainty, and how far a person is. */
export interface Queue {
  items: readonly QueueItem[];
  at: number;
  /** By the place of the item. */
  judged: ReadonlyMap<number, Judged>;
}

export const queueOf = (items: readonly QueueItem[]): Queue => ({ items, at: 0, judged: new Map() });

export const movedTo = (queue: Queue, at: number): Queue => ({
  ...queue,
  at: Math.min(Math.max(0, at), Math.max(0, queue.items.length - 1)),
});

/** The queue with an item judged, at the next one that is not; it stays where it is after the last one. */
export function afterJudging(queue: Queue, place: number, judged: Judged): Queue {
  const next = new Map(queue.judged).set(place, judged);
  const open = (i: number) => !next.has(i);
  const places = queue.items.map((_, i) => i);
  const at = places.slice(place + 1).find(open) ?? places.slice(0, place).find(open) ?? place;
  return { ...queue, at, judged: next };
}

/** The queue with what was said of an item taken back, at that item. */
export function afterUndo(queue: Queue, place: number): Queue {
  const judged = new Map(queue.judged);
  judged.delete(place);
  return { ...queue, at: place, judged };
}

/** What a choice of labels says of the model's answer. */
export function verdictOf(
  chosen: readonly string[],
  model: readonly Prediction[] | undefined,
  noRelation: string | null,
): Verdict {
  if (model === undefined) return "added";
  const answers = model.map(({ relation }) => relation);
  const isSame = chosen.length === answers.length && chosen.every((label) => answers.includes(label));
  if (isSame) return "confirmed";
  return chosen.length === 1 && chosen[0] === noRelation ? "rejected" : "corrected";
}

/** The row of the labelled set. */
export function rowOf(
  { sentence, head, tail, headSpan, tailSpan, predictions }: QueueItem,
  chosen: readonly string[],
  { noRelation, fingerprint }: { noRelation: string | null; fingerprint: string },
  id: string | undefined,
) {
  const verdict = verdictOf(chosen, predictions, noRelation);
  return {
    ...(id === undefined ? {} : { id }),
    ...{ sentence, head, tail },
    ...(headSpan ? { headSpan } : {}),
    ...(tailSpan ? { tailSpan } : {}),
    verdict,
    ...(verdict === "rejected" ? {} : { relations: [...chosen] }),
    ...(predictions ? { model: { fingerprint, predictions } } : {}),
  };
}

/** Labels with their probabilities, the most probable first; without a distribution in the order of the label set. */
export function candidatesOf(
  labels: readonly string[],
  probabilities: Readonly<Record<string, number>> | null,
): { label: string; probability: number | null }[] {
  if (probabilities === null) return labels.map((label) => ({ label, probability: null }));
  return labels
    .map((label, place) => ({ label, probability: probabilities[label] ?? 0, place }))
    .sort((a, b) => b.probability - a.probability || a.place - b.place)
    .map(({ label, probability }) => ({ label, probability }));
}
