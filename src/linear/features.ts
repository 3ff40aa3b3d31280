import { type Example, mentionsOf, type Span } from "../data/example.ts";

/**
 * What the n-grams of a row are taken from. Every group has its own n-grams and its own length: the values of a group's n-grams are equal
 * and their squares add up to the square of the group's weight, so that a long sentence does not drown three characters between the names.
 */
export const FEATURE_GROUPS = [
  "between",
  "left",
  "right",
  "sentence",
  "head",
  "tail",
  "pair",
  "layout",
  "clause",
  "kinds",
] as const;
export type FeatureGroup = (typeof FEATURE_GROUPS)[number];

/** n-grams of a row as 32-bit hashes, for each group of {@link FEATURE_GROUPS}; distinct and in ascending order. */
export type RowHashes = readonly Uint32Array[];

export interface FeatureSettings {
  /** Longest n-gram in characters (code points); the shortest is one character. */
  maxNgram: number;
  /** Characters to the left of the first and to the right of the second mention. */
  windowCharacters: number;
}

/** What ends a clause, and what of that ends a sentence or the half of one. */
const CLAUSE_END = /[，；。！？：…,;!?]/u;
const SENTENCE_END = /[；。！？…;!?]/u;
/** Hashes of the clause group: ends between the mentions; more count as that many. */
const MAX_CLAUSE_ENDS = 4;
const MAX_SENTENCE_ENDS = 2;
const CLAUSE_SEED = 0xc1a05e;
const KINDS_SEED = 0x1c14d5;
/** Hashes of the kinds group: characters that both names begin with, and their lengths; more count as that many. */
const MAX_SHARED_CHARACTERS = 3;
const MAX_NAME_CHARACTERS = 6;
/** Last characters of head and tail that tell what they are: 公司, 银行, 县. */
const ENDINGS = [
  [1, 1],
  [2, 2],
  [1, 2],
  [2, 1],
] as const;

const HEAD = 0xe000;
const TAIL = 0xe001;
const EDGE = 0xe002;
/** Hashes of the layout group: order of the mentions, and the distance in powers of two. */
const MAX_DISTANCE_BITS = 8;

/** Where the two mentions are that a row is read from. */
export interface MentionPair {
  first: Span;
  second: Span;
  /** Whether the head comes first. */
  headFirst: boolean;
}

/** Mentions of each name beyond these are read as text: comparing all pairs of a long row must not take for ever. */
const MAX_MENTIONS = 50;

function mentionsIn({ sentence, head, tail, headSpan, tailSpan }: Example): { heads: Span[]; tails: Span[] } {
  return {
    heads: mentionsOf(sentence, head, headSpan).slice(0, MAX_MENTIONS),
    tails: mentionsOf(sentence, tail, tailSpan).slice(0, MAX_MENTIONS),
  };
}

/** The nearest mentions of head and tail; of equally near ones the leftmost, and separate ones before overlapping ones. */
export function nearestMentions(example: Example): MentionPair | null {
  const { heads, tails } = mentionsIn(example);
  let best: MentionPair | null = null;
  let bestGap = Number.POSITIVE_INFINITY;
  for (const head of heads) {
    for (const tail of tails) {
      const headFirst = head.start <= tail.start;
      const [first, second] = headFirst ? [head, tail] : [tail, head];
      const gap = second.start - first.end;
      const cost = gap >= 0 ? gap : example.sentence.length - gap;
      if (cost >= bestGap) continue;
      best = { first, second, headFirst };
      bestGap = cost;
    }
  }
  return best;
}

/** The n-grams of a row. A row whose names are not in its sentence has those of the sentence and the names alone. */
export function rowHashes(example: Example, settings: FeatureSettings): RowHashes {
  const { maxNgram, windowCharacters } = settings;
  const groups: number[][] = FEATURE_GROUPS.map(() => []);
  const add = (group: FeatureGroup, variant: number, codes: readonly number[]) => {
    const place = FEATURE_GROUPS.indexOf(group);
    addNgrams(groups[place], mixed(place + 1, variant), codes, maxNgram);
  };
  const pair = nearestMentions(example);
  if (pair !== null) {
    const { first, second, headFirst } = pair;
    const { sentence } = example;
    const order = headFirst ? 1 : 2;
    const middle = sentence.slice(first.end, Math.max(first.end, second.start));
    const between = codesOf(middle);
    const left = codesOf(sentence.slice(0, first.start)).slice(-windowCharacters);
    const right = codesOf(sentence.slice(Math.max(first.end, second.end))).slice(0, windowCharacters);
    for (const variant of [0, order]) {
      add("between", variant, [EDGE, ...between, EDGE]);
      add("left", variant, [...left, EDGE]);
      add("right", variant, [EDGE, ...right]);
    }
    const layout = groups[FEATURE_GROUPS.indexOf("layout")];
    const distance = Math.min(MAX_DISTANCE_BITS, 32 - Math.clz32(between.length));
    // The first one is in every row with two mentions: the bias.
    layout.push(mixed(0, 0), mixed(1, order), mixed(2, distance), mixed(mixed(3, order), distance));
    add("clause", 0, clauseOf(example, pair));
    groups[FEATURE_GROUPS.indexOf("clause")].push(...clauseEnds(middle));
  }
  add("sentence", 0, maskedSentence(example));
  groups[FEATURE_GROUPS.indexOf("kinds")].push(...kindsOf(example));
  add("head", 0, [EDGE, ...codesOf(example.head), EDGE]);
  add("tail", 0, [EDGE, ...codesOf(example.tail), EDGE]);
  // The names as a whole, in their order: known only where the same pair is in several rows.
  groups[FEATURE_GROUPS.indexOf("pair")].push(
    [...codesOf(example.head), EDGE, ...codesOf(example.tail)].reduce(mixed, 0),
  );
  return groups.map(distinct);
}

/** From the start of the first mention's clause to the end of the second one's, with placeholders for the two mentions. */
function clauseOf({ sentence }: Example, { first, second, headFirst }: MentionPair): number[] {
  const before = sentence.slice(0, first.start).split(CLAUSE_END).at(-1) as string;
  const between = sentence.slice(first.end, Math.max(first.end, second.start));
  const after = sentence.slice(Math.max(first.end, second.end)).split(CLAUSE_END)[0];
  const [one, other] = headFirst ? [HEAD, TAIL] : [TAIL, HEAD];
  return [EDGE, ...codesOf(before), one, ...codesOf(between), other, ...codesOf(after), EDGE];
}

/** How many clauses and sentences end between the mentions. */
function clauseEnds(between: string): number[] {
  const clauses = Math.min(MAX_CLAUSE_ENDS, between.split(CLAUSE_END).length - 1);
  const sentences = Math.min(MAX_SENTENCE_ENDS, between.split(SENTENCE_END).length - 1);
  return [
    [1, clauses],
    [2, sentences],
    [3, clauses, sentences],
  ].map((values) => values.reduce(mixed, CLAUSE_SEED));
}

/** What the names say of each other: their last characters together, their lengths, how they begin alike, whether one holds the other. */
function kindsOf({ head, tail }: Example): number[] {
  const [headCodes, tailCodes] = [codesOf(head), codesOf(tail)];
  const different = headCodes.findIndex((code, i) => code !== tailCodes[i]);
  const shared = Math.min(MAX_SHARED_CHARACTERS, different < 0 ? headCodes.length : different);
  const holds = head.includes(tail) ? 1 : tail.includes(head) ? 2 : 0;
  const [headLength, tailLength] = [headCodes, tailCodes].map(({ length }) => Math.min(MAX_NAME_CHARACTERS, length));
  const endings = ENDINGS.map(([a, b]) => [a, b, ...headCodes.slice(-a), EDGE, ...tailCodes.slice(-b)]);
  return [
    ...[
      [1, shared],
      [2, holds],
      [3, headLength, tailLength],
      [4, shared, headLength, tailLength],
    ],
    ...[
      [5, headLength, ...headCodes.slice(-2)],
      [6, tailLength, ...tailCodes.slice(-2)],
    ],
    ...endings.map((values) => [7, ...values]),
  ].map((values) => values.reduce(mixed, KINDS_SEED));
}

/** The sentence as code points with every mention of head and tail replaced by a placeholder; of overlapping mentions the longer one. */
function maskedSentence(example: Example): number[] {
  const { sentence } = example;
  const { heads, tails } = mentionsIn(example);
  const coded = [...heads.map((span) => ({ ...span, code: HEAD })), ...tails.map((span) => ({ ...span, code: TAIL }))];
  const lengthOf = ({ start, end }: Span) => end - start;
  const kept: (Span & { code: number })[] = [];
  for (const span of coded.sort((a, b) => lengthOf(b) - lengthOf(a) || a.start - b.start)) {
    if (kept.every(({ start, end }) => span.end <= start || span.start >= end)) kept.push(span);
  }
  kept.sort((a, b) => a.start - b.start);
  const codes = [EDGE];
  let at = 0;
  for (const { start, end, code } of kept) {
    codes.push(...codesOf(sentence.slice(at, start)), code);
    at = end;
  }
  codes.push(...codesOf(sentence.slice(at)), EDGE);
  return codes;
}

function codesOf(text: string): number[] {
  return Array.from(text.toLowerCase(), (character) => character.codePointAt(0) as number);
}

function addNgrams(hashes: number[], seed: number, codes: readonly number[], maxNgram: number): void {
  for (let start = 0; start < codes.length; start++) {
    let hash = seed;
    const end = Math.min(codes.length, start + maxNgram);
    for (let i = start; i < end; i++) {
      hash = mixed(hash, codes[i]);
      hashes.push(hash);
    }
  }
}

/** One round of MurmurHash3 (Appleby) with its finalizer, so that every bit of both numbers counts. */
function mixed(hash: number, value: number): number {
  let k = Math.imul(value + 0x9e3779b9, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  let h = hash ^ k;
  h = Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function distinct(hashes: readonly number[]): Uint32Array {
  const sorted = Uint32Array.from(hashes).sort();
  let count = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (i === 0 || sorted[i] !== sorted[i - 1]) sorted[count++] = sorted[i];
  }
  return sorted.slice(0, count);
}
