import { UserError } from "../base/errors.ts";
import { createRandom, mixSeed, type Random } from "../base/random.ts";
import type { EncodedAnswer } from "../train/batches.ts";
import type { TokenDocuments } from "./token-file.ts";

/** The marks around a document. */
export interface DocumentMarks {
  /** The id from which the first token is predicted. */
  start: number;
  end: number;
  /** Put in place of masked ids; null for a tokenizer without a padding token. */
  mask: number | null;
}

/** What the sequences are to teach besides the next token. */
export interface Objective {
  /** Share of the sequences whose documents begin with a prefix of random length, whose tokens see each other. */
  prefixShare: number;
  /** Share of a prefix's tokens, about, that are masked in spans of 1 to 3; the position before each predicts it. */
  maskShare: number;
}

/** A sequence number from which the sources' final weights count. */
export interface FinalPhase {
  from: number;
}

/** Mean length of a masked span; a span has 1 to 2 · this − 1 tokens. */
export const MASK_SPAN = 2;

/** A part of a document: the ids of the answer are targets, the first id or a longer prefix is not. Parts of a sequence do not see each other. */
export type SequencePart = EncodedAnswer;

/** Full sequences in a seeded order: a pure function of the seed, so that training can resume at any step. */
export interface SequencePlan {
  /** Sequences of one round through each source, in the order of the sources. */
  perRound: readonly number[];
  sequence(index: number): SequencePart[];
}

/** A document fills one row more than it has ids: from the start mark to its last id, each predicting the next id or the end mark. */
export function rowEnds({ ends }: TokenDocuments): Float64Array {
  return Float64Array.from(ends, (end, d) => end + d + 1);
}

/** Rows [from, to) of a document. */
export function partOf(
  { tokens, ends }: TokenDocuments,
  document: number,
  from: number,
  to: number,
  marks: DocumentMarks,
): SequencePart {
  const start = document === 0 ? 0 : ends[document - 1];
  const length = ends[document] - start;
  const ids = Int32Array.from({ length: to - from + 1 }, (_, i) => {
    const at = from + i;
    if (at === 0) return marks.start;
    return at > length ? marks.end : tokens[start + at - 1];
  });
  return { promptIds: ids.subarray(0, 1), answerIds: ids.subarray(1) };
}

/** Documents in one order, cut into sequences of `sequenceRows` rows; the last one may be shorter. */
interface Round {
  documents: readonly number[];
  /** Running total of rows in that order. */
  ends: Float64Array;
  sequences: readonly number[];
}

/**
 * Mixes sources by weight: sequence n comes from the source that is furthest behind its share. Every round through a source shuffles its
 * documents, cuts them into full sequences and shuffles these. Masked ids are targets of the position before them (BehnamGhader et al.
 * 2024, arXiv:2404.05961). Throws a UserError for a source without training documents.
 */
export function planSequences(
  sources: readonly { name: string; documents: TokenDocuments; weight: number; finalWeight?: number }[],
  sequenceRows: number,
  marks: DocumentMarks,
  seed: number,
  { prefixShare, maskShare }: Objective = { prefixShare: 0, maskShare: 0 },
  final: FinalPhase = { from: Number.POSITIVE_INFINITY },
): SequencePlan {
  for (const { name, documents } of sources) {
    if (documents.ends.length === 0) throw new UserError(`data.sources.${name}: has no documents to train on.`);
  }
  const shares = sharesOf(sources.map(({ weight }) => weight));
  const finalShares = sharesOf(sources.map(({ weight, finalWeight = weight }) => finalWeight));
  const perRound = sources.map(({ documents }) => Math.ceil((rowEnds(documents).at(-1) as number) / sequenceRows));
  const rounds: ({ number: number; round: Round } | null)[] = sources.map(() => null);
  const roundOf = (source: number, number: number): Round => {
    const known = rounds[source];
    if (known?.number === number) return known.round;
    const round = createRound(sources[source].documents, perRound[source], mixSeed(seed, source, number, 0x5e9));
    rounds[source] = { number, round };
    return round;
  };
  // The state of the mixture after `drawn` sequences.
  let drawn = 0;
  let drawnOf = sources.map(() => 0);
  const draw = (): { source: number; number: number } => {
    let source = 0;
    for (let s = 1; s < sources.length; s++) {
      const early = Math.min(drawn + 1, final.from);
      const behind = (which: number) =>
        shares[which] * early + finalShares[which] * (drawn + 1 - early) - drawnOf[which];
      if (behind(s) > behind(source)) source = s;
    }
    drawn++;
    return { source, number: drawnOf[source]++ };
  };
  return {
    perRound,
    sequence(index) {
      if (index < drawn) {
        drawn = 0;
        drawnOf = sources.map(() => 0);
      }
      while (drawn < index) draw();
      const { source, number } = draw();
      const round = roundOf(source, Math.floor(number / perRound[source]));
      const from = round.sequences[number % perRound[source]] * sequenceRows;
      const parts = cut(sources[source].documents, round, from, from + sequenceRows, marks);
      const random = createRandom(mixSeed(seed, index, 0x9f1c));
      if (random.uniform() >= prefixShare) return parts;
      return parts.map((part) => masked(withPrefix(part, random), maskShare, marks, random));
    },
  };
}

/** The part with a prefix of random length; at least one id after it is a target. */
function withPrefix(part: SequencePart, random: Random): SequencePart {
  const [{ length: first }, { length: targets }] = [part.promptIds, part.answerIds];
  if (targets < 2) return part;
  const ids = Int32Array.from([...Array.from(part.promptIds), ...Array.from(part.answerIds)]);
  const prefix = first + 1 + random.below(targets - 1);
  return { promptIds: ids.subarray(0, prefix), answerIds: ids.subarray(prefix) };
}

/** The part with spans of its prefix masked; the first id stays. */
function masked(part: SequencePart, maskShare: number, { mask }: DocumentMarks, random: Random): SequencePart {
  const { promptIds } = part;
  if (maskShare === 0 || mask === null || promptIds.length < 2) return part;
  const ids = Int32Array.from(promptIds);
  const maskedIds = new Int32Array(ids.length).fill(-1);
  let left = 0;
  for (let i = 1; i < ids.length; i++) {
    if (random.uniform() < maskShare / MASK_SPAN) left = Math.max(left, 1 + random.below(2 * MASK_SPAN - 1));
    if (left === 0) continue;
    left--;
    maskedIds[i] = ids[i];
    ids[i] = mask;
  }
  return { ...part, promptIds: ids, maskedIds };
}

function sharesOf(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function createRound(documents: TokenDocuments, sequenceCount: number, seed: number): Round {
  const random = createRandom(seed);
  const order = random.shuffle(Array.from(documents.ends.keys()));
  const ends = new Float64Array(order.length);
  let total = 0;
  for (const [i, d] of order.entries()) {
    total += documents.ends[d] - (d === 0 ? 0 : documents.ends[d - 1]) + 1;
    ends[i] = total;
  }
  return { documents: order, ends, sequences: random.shuffle(Array.from({ length: sequenceCount }, (_, i) => i)) };
}

/** The parts of documents that lie in rows [from, to) of a round. */
function cut(documents: TokenDocuments, round: Round, from: number, to: number, marks: DocumentMarks): SequencePart[] {
  const parts: SequencePart[] = [];
  for (let i = firstAfter(round.ends, from); i < round.ends.length; i++) {
    const start = i === 0 ? 0 : round.ends[i - 1];
    if (start >= to) break;
    const last = Math.min(to, round.ends[i]);
    parts.push(partOf(documents, round.documents[i], Math.max(from, start) - start, last - start, marks));
  }
  return parts;
}

/** The first index with a value greater than `row`, in a rising list. */
function firstAfter(ends: Float64Array, row: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > row) high = middle;
    else low = middle + 1;
  }
  return low;
}
