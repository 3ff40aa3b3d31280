import { type Example, mentionsOf, type Span } from "./example.ts";
import type { AnnotatedSentence } from "./mentions-file.ts";

/** Two entities of a sentence, in the order of the text, asked in both orders. */
export interface SentencePair {
  /** (first, second). */
  forward: Example;
  /** (second, first). */
  backward: Example;
  /** Whether a row has the pair, in either order. */
  isLabelled: boolean;
}

/** The places of a text by the rows and annotations; null where only the text is known. */
type Places = Span[] | null;

interface SentenceFacts {
  places: Map<string, Places>;
  /** The row of (head, tail), with the relations of all rows of these texts. */
  rows: Map<string, Example>;
}

const keyOf = (head: string, tail: string) => JSON.stringify([head, tail]);

/**
 * Each two entities of each sentence, once: texts that rows of the sentence name or that are annotated in it, at places that do not overlap, of several
 * places the nearest two. A pair that a row has is one as the row says. Relations are those of the rows, and none (undefined) for an order
 * without a row.
 */
export function* pairsBySentence(
  rows: readonly Example[],
  annotated: readonly AnnotatedSentence[] = [],
): Generator<{ sentence: string; pairs: SentencePair[] }, void, void> {
  const bySentence = new Map<string, SentenceFacts>();
  const factsOf = (sentence: string) => {
    const known = bySentence.get(sentence) ?? { places: new Map(), rows: new Map() };
    bySentence.set(sentence, known);
    return known;
  };
  for (const row of rows) {
    const facts = factsOf(row.sentence);
    addPlace(facts.places, row.head, row.headSpan);
    addPlace(facts.places, row.tail, row.tailSpan);
    const key = keyOf(row.head, row.tail);
    const earlier = facts.rows.get(key);
    const relations = [...(earlier?.relations ?? []), ...(row.relations ?? [])];
    facts.rows.set(key, { ...(earlier ?? row), relations });
  }
  for (const { sentence, mentions } of annotated) {
    const { places } = factsOf(sentence);
    for (const span of mentions) addPlace(places, sentence.slice(span.start, span.end), span);
  }
  for (const [sentence, facts] of bySentence) yield { sentence, pairs: pairsOf(sentence, facts) };
}

function addPlace(places: Map<string, Places>, text: string, span: Span | undefined): void {
  const known = places.get(text);
  if (span === undefined) {
    if (known === undefined) places.set(text, null);
  } else if (!known) places.set(text, [span]);
  else if (!known.some(({ start }) => start === span.start)) known.push(span);
}

function pairsOf(sentence: string, { places, rows }: SentenceFacts): SentencePair[] {
  const texts = [...places].map(([text, spans]) => ({ text, spans, all: spans ?? mentionsOf(sentence, text) }));
  const pairs: SentencePair[] = [];
  for (const [i, one] of texts.entries()) {
    for (const other of texts.slice(i + 1)) {
      const own = rows.get(keyOf(one.text, other.text));
      const opposite = rows.get(keyOf(other.text, one.text));
      const nearest = nearestPlaces(one.all, other.all);
      if (nearest === null && !own && !opposite) continue;
      const [here, there] = nearest ?? [one.all[0], other.all[0]];
      const hasPlaces = nearest !== null && one.spans !== null && other.spans !== null;
      const from = (head: typeof one, tail: typeof one, headSpan: Span, tailSpan: Span): Example => {
        const texts = { sentence, head: head.text, tail: tail.text };
        return hasPlaces ? { ...texts, headSpan, tailSpan } : texts;
      };
      const ordered: [Example, Example] = [
        own ?? (opposite && turned(opposite)) ?? from(one, other, here, there),
        opposite ?? (own && turned(own)) ?? from(other, one, there, here),
      ];
      const [forward, backward] = here.start <= there.start ? ordered : ordered.reverse();
      pairs.push({ forward, backward, isLabelled: own !== undefined || opposite !== undefined });
    }
  }
  return pairs;
}

/** The row from tail to head, of which no row says anything. */
function turned({ sentence, head, tail, headSpan, tailSpan }: Example): Example {
  const spans = headSpan && tailSpan ? { headSpan: tailSpan, tailSpan: headSpan } : {};
  return { sentence, head: tail, tail: head, ...spans };
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
