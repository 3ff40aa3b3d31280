import { mixSeed } from "../base/random.ts";
import { type Example, mentionsOf, type Span } from "./example.ts";
import type { AnnotatedSentence } from "./mentions-file.ts";

/** Examples of "no relation" that were drawn, and what they were drawn from. */
export interface DrawnNegatives {
  examples: Example[];
  /** Ordered pairs of entities in one sentence without a label in either direction. */
  candidates: number;
  /** Sentences with such a pair. */
  sentences: number;
}

export interface NegativeOptions {
  /** Examples to draw, as a share of the labelled rows; all candidates when there are fewer. */
  share: number;
  /** The label that they get. */
  noRelation: string;
  seed: number;
  /** Rows that are not learnt: their sentences give no negatives. */
  heldOut: readonly Example[];
  /** Entities that no row names. */
  annotated?: readonly AnnotatedSentence[];
}

/** Negatives of one sentence at most: a list of many names would outweigh all others. */
export const MOST_OF_SENTENCE = 32;

/** The places of a text in its sentence by the rows and annotations; null where only the text is known. */
type Places = Span[] | null;

/**
 * Draws pairs of real entities that the data gives no relation, as examples of "no relation": two texts that rows of one sentence name, or that
 * are annotated in it, never in one row together, in either order. The choice depends on each pair and the seed, not on the order of the rows.
 */
export function drawNegatives(rows: readonly Example[], options: NegativeOptions): DrawnNegatives {
  const { share, noRelation, seed, heldOut, annotated = [] } = options;
  const skipped = new Set(heldOut.map(({ sentence }) => sentence));
  const bySentence = new Map<string, { places: Map<string, Places>; labelled: Set<string> }>();
  const factsOf = (sentence: string) => {
    const known = bySentence.get(sentence) ?? { places: new Map(), labelled: new Set() };
    bySentence.set(sentence, known);
    return known;
  };
  for (const { sentence, head, tail, headSpan, tailSpan } of rows) {
    const { places, labelled } = factsOf(sentence);
    labelled.add(JSON.stringify([head, tail])).add(JSON.stringify([tail, head]));
    addPlace(places, head, headSpan);
    addPlace(places, tail, tailSpan);
  }
  for (const { sentence, mentions } of annotated) {
    const { places } = factsOf(sentence);
    for (const span of mentions) addPlace(places, sentence.slice(span.start, span.end), span);
  }
  const drawn: { example: Example; chance: number; order: number }[] = [];
  let candidates = 0;
  let sentences = 0;
  for (const [sentence, { places, labelled }] of bySentence) {
    if (skipped.has(sentence)) continue;
    const own = [...unlabelledPairs(sentence, places, labelled)].map((example) => {
      return { example: { ...example, relations: [noRelation] }, chance: chanceOf(example, seed) };
    });
    candidates += own.length;
    if (own.length > 0) sentences++;
    own.sort((a, b) => a.chance - b.chance);
    for (const one of own.slice(0, MOST_OF_SENTENCE)) drawn.push({ ...one, order: drawn.length });
  }
  const wanted = Math.round(share * rows.length);
  const chosen = drawn.sort((a, b) => a.chance - b.chance || a.order - b.order).slice(0, wanted);
  return { examples: chosen.sort((a, b) => a.order - b.order).map(({ example }) => example), candidates, sentences };
}

function addPlace(places: Map<string, Places>, text: string, span: Span | undefined): void {
  const known = places.get(text);
  if (span === undefined) {
    if (known === undefined) places.set(text, null);
  } else if (!known) places.set(text, [span]);
  else if (!known.some(({ start }) => start === span.start)) known.push(span);
}

/** Both orders of each two texts without a label that have places which do not overlap; of several places the nearest two. */
function* unlabelledPairs(
  sentence: string,
  places: ReadonlyMap<string, Places>,
  labelled: ReadonlySet<string>,
): Generator<Example> {
  const texts = [...places].map(([text, spans]) => ({ text, spans, all: spans ?? mentionsOf(sentence, text) }));
  for (const [i, one] of texts.entries()) {
    for (const other of texts.slice(i + 1)) {
      if (labelled.has(JSON.stringify([one.text, other.text]))) continue;
      const nearest = nearestPlaces(one.all, other.all);
      if (nearest === null) continue;
      const [here, there] = nearest;
      const pair = { sentence, head: one.text, tail: other.text };
      const opposite = { sentence, head: other.text, tail: one.text };
      const hasPlaces = one.spans !== null && other.spans !== null;
      yield hasPlaces ? { ...pair, headSpan: here, tailSpan: there } : pair;
      yield hasPlaces ? { ...opposite, headSpan: there, tailSpan: here } : opposite;
    }
  }
}

function nearestPlaces(ones: readonly Span[], others: readonly Span[]): [Span, Span] | null {
  let best: [Span, Span] | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const one of ones) {
    for (const other of others) {
      const distance = Math.max(other.start - one.end, one.start - other.end);
      if (distance < 0 || distance >= least) continue;
      best = [one, other];
      least = distance;
    }
  }
  return best;
}

/** A number in [0, 1) that depends on the texts of the pair alone. */
function chanceOf({ sentence, head, tail }: Example, seed: number): number {
  let hash = 0x811c9dc5;
  const key = `${head}\t${tail}\t${sentence}`;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return mixSeed(seed, hash, key.length, 0x4e6) / 2 ** 32;
}
