import type { Triple, TripleMention } from "../../../extract/triples.ts";

/** What a person said of a relation. */
export type Verdict = "confirmed" | "corrected" | "rejected" | "added";

/** A relation on the page: a triple of the server, or one that a person added, and what was said of it. */
export interface PageTriple extends Triple {
  /** Equal for the same pair of places and the same label of the model. */
  key: string;
  /** Equal for all relations of the same two places, in this order. */
  pair: string;
  /** Places in UTF-16 units of `sentence`, [start, end). */
  headSpan: [number, number];
  tailSpan: [number, number];
  /** Null while nobody judged it. */
  verdict: Verdict | null;
  /** The label that holds: the model's, or the one that it was corrected to. */
  label: string;
  /** Whether the model gave it; a person's own has no probability. */
  isOfModel: boolean;
}

export type { Triple, TripleMention };

/** A text with what was found in it. */
export interface PageDocument {
  id: string;
  text: string;
  /** By their places; none overlaps another one, unless the request wanted all. */
  mentions: TripleMention[];
}

/** A sentence as the server gives it, or the page cuts it. `start` counts UTF-16 units, `startPoints` code points. */
export interface SentencePlace {
  text: string;
  start: number;
  startPoints: number;
}

export const codePoints = (text: string): number => {
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    const isPair = unit >= 0xd800 && unit < 0xdc00 && at + 1 < text.length;
    if (isPair) at++;
    count++;
  }
  return count;
};

/** UTF-16 units of the first code points of a text. */
export function unitsOf(text: string, points: number): number {
  let at = 0;
  for (let done = 0; done < points && at < text.length; done++) {
    const unit = text.charCodeAt(at);
    at += unit >= 0xd800 && unit < 0xdc00 && at + 1 < text.length ? 2 : 1;
  }
  return at;
}

const place = ({ startUtf16, endUtf16 }: TripleMention) => `${startUtf16}-${endUtf16}`;

export const pairKey = (document: string, head: TripleMention, tail: TripleMention) =>
  `${document}:${place(head)}>${place(tail)}`;

/** A triple of the server as the page holds it. */
export function pageTriple(triple: Triple): PageTriple {
  const { document, sentence, sentenceStart, head, tail, relation } = triple;
  const sentenceUnits = head.startUtf16 - unitsOf(sentence, head.start - sentenceStart);
  const span = ({ startUtf16, endUtf16 }: TripleMention): [number, number] => [
    startUtf16 - sentenceUnits,
    endUtf16 - sentenceUnits,
  ];
  const pair = pairKey(document, head, tail);
  return {
    ...triple,
    ...{ key: `${pair}:${relation}`, pair, headSpan: span(head), tailSpan: span(tail) },
    ...{ verdict: null, label: relation, isOfModel: true },
  };
}

/** A relation that a person adds between two mentions of a sentence. */
export function addedTriple(
  document: string,
  sentence: SentencePlace,
  head: TripleMention,
  tail: TripleMention,
  label: string,
): PageTriple {
  const own = { document, sentence: sentence.text, sentenceStart: sentence.startPoints, head, tail };
  const triple = pageTriple({ ...own, relation: label, probability: Number.NaN, run: "" });
  return { ...triple, key: `${triple.pair}:+${label}`, verdict: "added", isOfModel: false };
}

/** A mention moved by the place of its part in the document. */
export const movedMention = (mention: TripleMention, units: number, points: number): TripleMention => ({
  ...mention,
  ...{ start: mention.start + points, end: mention.end + points },
  ...{ startUtf16: mention.startUtf16 + units, endUtf16: mention.endUtf16 + units },
});
