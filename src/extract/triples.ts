import type { LabelSet } from "../data/example.ts";
import type { Sentence } from "../documents/document.ts";
import type { Mention } from "../documents/mention.ts";
import type { CodePointOffsets } from "../documents/offsets.ts";
import type { Pair } from "../documents/pairs.ts";
import type { Extraction } from "./extractor.ts";

/** A mention as an output writes it, with its place in the document in both units. */
export interface TripleMention {
  text: string;
  id: string;
  name: string;
  type: string | null;
  /** Code points into the document, [start, end). */
  start: number;
  end: number;
  startUtf16: number;
  endUtf16: number;
  /** Of an entity that the run found itself. */
  probability?: number;
}

/** A relation that was found at one place of a document. */
export interface Triple {
  document: string;
  sentence: string;
  /** Code points of the document before the sentence. */
  sentenceStart: number;
  head: TripleMention;
  relation: string;
  tail: TripleMention;
  probability: number;
  /** Fingerprint of the run that found it. */
  run: string;
}

/** A relation between two mentions. */
export interface Found {
  head: Mention;
  relation: string;
  tail: Mention;
  probability: number;
}

/** The least probability that relations need. */
export interface RelationThresholds {
  /** Of relations without a threshold of their own. */
  usual: number;
  relations: ReadonlyMap<string, number>;
}

/** The relations of a pair, and the numbers of answers that gave none. */
export interface Decision {
  found: Found[];
  none: number;
  below: number;
  /** Relations that the opposite direction, more probable, excludes. */
  opposed: number;
}

/**
 * Decides a pair from the answers to its questions. A relation with a declared inverse is given in one direction, the one that the label set
 * declares (the key of "inverses"), a symmetric one from the first mention to the second; found from both sides, it has the mean of the two
 * probabilities. Any other relation holds in one direction of a pair: found in both, the more probable one is kept.
 */
export function decidePair(
  { first, second }: Pick<Pair, "first" | "second">,
  answers: Record<"forward" | "backward", Pick<Extraction, "predictions"> | null>,
  labels: LabelSet,
  leastProbability: (relation: string) => number,
): Decision {
  const found = new Map<string, { one: Found; probabilities: number[] }>();
  let none = 0;
  for (const [answer, head, tail] of [
    [answers.forward, first, second],
    [answers.backward, second, first],
  ] as const) {
    for (const { relation, probability } of answer?.predictions ?? []) {
      if (relation === labels.noRelation) {
        none++;
        continue;
      }
      const one = directed({ head, relation, tail, probability }, first, labels);
      const key = `${one.head === first ? "forward" : "backward"} ${one.relation}`;
      const entry = found.get(key) ?? { one, probabilities: [] };
      entry.probabilities.push(probability);
      found.set(key, entry);
    }
  }
  const decided = Array.from(found.values(), ({ one, probabilities }) => ({
    ...one,
    probability: probabilities.reduce((sum, probability) => sum + probability, 0) / probabilities.length,
  }));
  const probable = decided.filter(({ relation, probability }) => probability >= leastProbability(relation));
  const kept = probable.filter((one, i) => {
    const other = probable.findIndex(({ relation, head }) => relation === one.relation && head === one.tail);
    if (other < 0) return true;
    const difference = one.probability - probable[other].probability;
    return difference > 0 || (difference === 0 && i < other);
  });
  return { found: kept, none, below: decided.length - probable.length, opposed: probable.length - kept.length };
}

/** The relation in its one direction. */
export function directed(found: Found, first: Mention, { inverses }: LabelSet): Found {
  const inverse = inverses.get(found.relation);
  if (inverse === undefined) return found;
  const opposite = { ...found, head: found.tail, tail: found.head, relation: inverse };
  if (inverse === found.relation) return found.head === first ? found : opposite;
  for (const label of inverses.keys()) {
    if (label === found.relation) return found;
    if (label === inverse) return opposite;
  }
  return found;
}

/** A found relation with the texts and places of its mentions. */
export function tripleOf(
  { head, relation, tail, probability }: Found,
  place: { document: string; text: string; sentence: Sentence; offsets: CodePointOffsets; run: string },
): Triple {
  const { document, text, sentence, offsets, run } = place;
  const mention = ({ start, end, id, name, type, probability: own }: Mention): TripleMention => ({
    ...{ text: text.slice(start, end), id, name, type },
    ...{ start: offsets.toCodePoint(start), end: offsets.toCodePoint(end), startUtf16: start, endUtf16: end },
    ...(own === undefined ? {} : { probability: Number(own.toFixed(6)) }),
  });
  const rounded = Number(probability.toFixed(6));
  return {
    ...{ document, sentence: sentence.text, sentenceStart: offsets.toCodePoint(sentence.start) },
    ...{ head: mention(head), relation, tail: mention(tail), probability: rounded, run },
  };
}
