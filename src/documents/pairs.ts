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

  const question = (head: Mention, tail: Mention, { text, start }: Sentence): PairQuestion | null => {
    const { mask, hasRelation } = allowed(head.type, tail.type);
    if (!hasRelation) return null;
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
  const pairOf = (first: Mention, second: Mention, sentence: Sentence): Pair | null => {
    const forward = question(first, second, sentence);
    const backward = isClosed ? null : question(second, first, sentence);
    return forward === null && backward === null ? null : { first, second, sentence, forward, backward };
  };

  function* pairsOf(
    document: Document,
    sentences: readonly Sentence[],
    mentions: readonly Mention[],
  ): Generator<Pair, void, void> {
    counts.sentences += sentences.length;
    counts.mentions += mentions.length;
    const bySentence = mentionsBySentence(sentences, mentions);
    counts.crossing += mentions.length - bySentence.reduce((sum, own) => sum + own.length, 0);
    for (let from = 0; from < sentences.length; from++) {
      for (let to = from; to < Math.min(sentences.length, from + window); to++) {
        const candidates = nearest(bySentence[from], bySentence[to], from === to);
        counts.repeated += candidates.repeated;
        const sentence = joined(document, sentences[from], sentences[to]);
        let asked = 0;
        for (const [first, second] of candidates.pairs) {
          const pair = pairOf(first, second, sentence);
          if (pair === null) counts.cutByType++;
          else if (asked >= maxPairs) counts.cutByCap++;
          else {
            asked++;
            counts.pairs++;
            yield pair;
          }
        }
      }
    }
  }
  return { counts, pairsOf };
}

function joined({ text }: Document, { start }: Sentence, { end }: Sentence): Sentence {
  return { text: text.slice(start, end), start, end };
}

/** The mentions within each sentence, in order. */
function mentionsBySentence(sentences: readonly Sentence[], mentions: readonly Mention[]): Mention[][] {
  const own: Mention[][] = sentences.map(() => []);
  let at = 0;
  for (const mention of mentions) {
    while (at < sentences.length && sentences[at].end <= mention.start) at++;
    if (at < sentences.length && mention.start >= sentences[at].start && mention.end <= sentences[at].end) {
      own[at].push(mention);
    }
  }
  return own;
}

/** Pairs of mentions of different entities that do not overlap, one for each two entities, the nearest first. */
function nearest(left: readonly Mention[], right: readonly Mention[], isSame: boolean) {
  const pairs: [Mention, Mention][] = [];
  for (const [i, first] of left.entries()) {
    for (const second of isSame ? left.slice(i + 1) : right) {
      if (first.id !== second.id && first.end <= second.start) pairs.push([first, second]);
    }
  }
  const distance = ([first, second]: [Mention, Mention]) => second.start - first.end;
  pairs.sort((a, b) => distance(a) - distance(b) || a[0].start - b[0].start || a[1].start - b[1].start);
  const seen = new Set<string>();
  const kept = pairs.filter(([first, second]) => {
    const key = JSON.stringify(first.id < second.id ? [first.id, second.id] : [second.id, first.id]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  return { pairs: kept, repeated: pairs.length - kept.length };
}
