import type { LabelSet } from "../data/example.ts";
import type { SentencePair } from "../data/sentence-pairs.ts";
import type { Mention } from "../documents/mention.ts";
import { isClosedUnderInverse } from "../documents/pairs.ts";
import type { Prediction } from "./combine.ts";
import { decidePair, directed, type Found } from "./triples.ts";

/** A relation of a pair in its one direction. */
export interface DirectedRelation {
  relation: string;
  /** From the first entity of the text to the second. */
  isForward: boolean;
}

/** A pair with what rows say of it and what was found, as documents are decided: both orders together. */
export interface DecidedPair {
  gold: DirectedRelation[];
  found: (DirectedRelation & { probability: number })[];
}

/** The questions of a pair: one order where every label has a declared inverse, else both. */
export function questionsOfPair({ forward, backward }: SentencePair, labels: LabelSet) {
  return isClosedUnderInverse(labels) ? [forward] : [forward, backward];
}

/** Decides a pair by the predictions for its questions. A pair without a row has no relation. */
export function decideSentencePair(
  { forward, backward }: SentencePair,
  answers: readonly (readonly Prediction[])[],
  labels: LabelSet,
): DecidedPair {
  const [first, second] = [mentionOf(forward.head), mentionOf(forward.tail)];
  const asFound = ({ head, relation }: Pick<Found, "head" | "relation">) => ({ relation, isForward: head === first });
  const gold = [
    ...(forward.relations ?? []).map((relation) => ({ head: first, relation, tail: second, probability: 1 })),
    ...(backward.relations ?? []).map((relation) => ({ head: second, relation, tail: first, probability: 1 })),
  ];
  const distinct = new Map<string, DirectedRelation>();
  for (const one of gold) {
    if (one.relation === labels.noRelation) continue;
    const known = asFound(directed(one, first, labels));
    distinct.set(JSON.stringify(known), known);
  }
  const [ahead = [], back = []] = answers;
  const { found } = decidePair(
    { first, second },
    { forward: { predictions: [...ahead] }, backward: { predictions: [...back] } },
    labels,
    () => 0,
  );
  return {
    gold: [...distinct.values()],
    found: found.map((one) => ({ ...asFound(one), probability: one.probability })),
  };
}

/** A mention that is known by its text alone. */
const mentionOf = (text: string): Mention => ({ start: 0, end: text.length, id: text, name: text, type: null });
