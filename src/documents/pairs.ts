import type { Example, LabelSet } from "../data/example.ts";
import { type LabelMask, labelsByTypes } from "../data/label-types.ts";
import type { Document, Sentence } from "./document.ts";
import type { Mention } from "./mention.ts";

export interface PairSettings {
  /** Sentences that a pair may extend over; 1: both mentions in one sentence. */
  window: number;
  /** Most pairs (in either order) of one sentence, or of the sentences that a pair extends over. */
  maxPairs: number;
}

/** What became of the mentions of documents. Pairs are counted in either order, once. */
export interface PairCounts {
  sentences: number;
  mentions: number;
  /** Mentions that are not within one sentence. */
  crossing: number;
  /** Pairs that are asked. */
  pairs: number;
  /** Pairs that the types of head and tail exclude. */
  cutByType: number;
  /** Pairs over the limit of a sentence. */
  cutByCap: number;
  /** Pairs of two entities that were asked between nearer mentions of the same sentence. */
  repeated: number;
}

/** One order of a pair as it is asked. */
export interface PairQuestion {
  example: Example;
  mask: LabelMask | null;
}

/** Two mentions of different entities, in the order of the text. */
export interface Pair {
  first: Mention;
  second: Mention;
  /** The sentence, or the sentences from that of the first mention to that of the second. */
  sentence: Sentence;
  /** (first, second); null where the types exclude it, or where the other order answers for it. */
  forward: PairQuestion | null;
  /** (second, first). */
  backward: PairQuestion | null;
}

export function emptyPairCounts(): PairCounts {
  return { sentences: 0, mentions: 0, crossing: 0, pairs: 0, cutByType: 0, cutByCap: 0, repeated: 0 };
}

/** Whether every label has a declared inverse: then the answer for (head, tail) is the answer for (tail, head). */
export function isClosedUnderInverse({ labels, noRelation, inverses }: LabelSet): boolean {
  return labels.every((label) => label === noRelation || inverses.has(label));
}

/**
 * Makes the pairs of documents. Each two entities of a sentence are asked once, between their nearest mentions; the nearest pairs come first
 * when a sentence has too many. Where every label has a declared inverse, one order is asked for both.
 */
export function createPairer(labels: LabelSet, { window, maxPairs }: PairSettings) {
  const allowed = labelsByTypes(labels);
  const isClosed = isClosedUnderInverse(labels);
  const counts = emptyPairCounts();

  const question = (head: Mention, tail: Mention, { text, start }: Sentence, mask: LabelMask | null): PairQuestion => {
    const spanOf = (mention: Mention) => ({ start: mention.start - start, end: mention.end - start });
    const [headSpan, tailSpan] = [spanOf(head), spanOf(tail)];
    const example: Example = {
      sentence: text,
      head: text.slice(headSpan.start, headSpan.end),
      tail: text.slice(tailSpan.start, tailSpan.end),
      headSpan,
      tailSpan,
    };
    return { example, mask };
  };
  /** The pairs between the mentions of two sentences. */
  const pairsBetween = (candidates: readonly (readonly [Mention, Mention])[], sentence: Sentence): Pair[] => {
    const pairs: Pair[] = [];
    for (const [first, second] of candidates) {
      const forward = allowed(first.type, second.type);
      const backward = isClosed ? null : allowed(second.type, first.type);
      if (!forward.hasRelation && !backward?.hasRelation) counts.cutByType++;
      else if (pairs.length >= maxPairs) counts.cutByCap++;
      else {
        pairs.push({
          ...{ first, second, sentence },
          forward: forward.hasRelation ? question(first, second, sentence, forward.mask) : null,
          backward: backward?.hasRelation ? question(second, first, sentence, backward.mask) : null,
        });
      }
    }
    counts.pairs += pairs.length;
    return pairs;
  };

  /** The pairs of a document sentence by sentence, also of those without any: for callers that pause between them. */
  function* pairListsOf(
    document: Document,
    sentences: readonly Sentence[],
    mentions: readonly Mention[],
  ): Generator<Pair[], void, void> {
    counts.sentences += sentences.length;
    counts.mentions += mentions.length;
    const own = mentionsBySentence(sentences, mentions);
    for (let from = 0; from < sentences.length; from++) {
      for (let to = from; to < Math.min(sentences.length, from + window); to++) {
        const candidates = nearest(own.of(from), own.of(to), from === to);
        counts.repeated += candidates.repeated;
        yield pairsBetween(candidates.pairs, joined(document, sentences[from], sentences[to]));
      }
    }
    counts.crossing += mentions.length - own.within();
  }

  function* pairsOf(...of: Parameters<typeof pairListsOf>): Generator<Pair, void, void> {
    for (const pairs of pairListsOf(...of)) yield* pairs;
  }
  return { counts, pairsOf, pairListsOf };
}

function joined({ text }: Document, { start }: Sentence, { end }: Sentence): Sentence {
  return { text: text.slice(start, end), start, end };
}

/** The mentions within each sentence, in order; asked for in order, each is found once. */
function mentionsBySentence(sentences: readonly Sentence[], mentions: readonly Mention[]) {
  const found: Mention[][] = [];
  let [next, within] = [0, 0];
  const findNext = () => {
    const { start, end } = sentences[found.length];
    const own: Mention[] = [];
    for (; next < mentions.length && mentions[next].start < end; next++) {
      if (mentions[next].start >= start && mentions[next].end <= end) own.push(mentions[next]);
    }
    within += own.length;
    found.push(own);
  };
  return {
    of(sentence: number): readonly Mention[] {
      while (found.length <= sentence) findNext();
      return found[sentence];
    },
    /** The number of those in the sentences that were asked for. */
    within: () => within,
  };
}

/** Pairs of mentions of different entities that do not overlap, one for each two entities, the nearest first, of equally near ones the left one. */
function nearest(left: readonly Mention[], right: readonly Mention[], isSame: boolean) {
  // Mentions are in order, so sorting by distance alone keeps the order of places; one list for each distance sorts without comparing.
  const byDistance: [Mention, Mention][][] = [];
  let count = 0;
  for (const [i, first] of left.entries()) {
    for (let j = isSame ? i + 1 : 0; j < right.length; j++) {
      const second = right[j];
      const distance = second.start - first.end;
      if (distance < 0 || first.id === second.id) continue;
      count++;
      const equal = byDistance[distance];
      if (equal === undefined) byDistance[distance] = [[first, second]];
      else equal.push([first, second]);
    }
  }
  const numbers = new Map<string, number>();
  for (const { id } of [...left, ...right]) if (!numbers.has(id)) numbers.set(id, numbers.size);
  const seen = new Set<number>();
  const pairs: [Mention, Mention][] = [];
  byDistance.forEach((equal) => {
    for (const pair of equal) {
      const [a, b] = pair.map(({ id }) => numbers.get(id) as number);
      const key = a < b ? a * numbers.size + b : b * numbers.size + a;
      if (seen.has(key)) continue;
      seen.add(key);
      pairs.push(pair);
    }
  });
  return { pairs, repeated: count - pairs.length };
}
