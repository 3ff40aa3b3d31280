import { createRandom, mixSeed, type Random } from "../base/random.ts";
import type { Example, Span } from "./example.ts";

export interface JoinOptions {
  /** Rows to draw of each kind, as a share of the rows; at most one of each kind for a row. */
  share: number;
  /** The label of a pair whose entities come from two sentences. */
  noRelation: string;
  seed: number;
  /** Longest joined sentence, in UTF-16 code units. */
  mostCharacters: number;
}

/** Other rows that are tried as the second sentence before a row is left alone. */
const TRIES = 16;

/** Share of the joined sentences whose first one loses its end mark to a comma or a semicolon. */
const COMMA_SHARE = 0.7;

/**
 * Draws rows of two sentences in one, so that a model learns which pair is asked: rows rarely have more than two entities, and a model that saw
 * no others finds the relation of a sentence between all of its entities. Half of them ask for the pair of one sentence and keep its relations, half
 * for one entity of each sentence and have no relation. Two sentences are joined only when no entity of one occurs in the other. The choice
 * depends on the rows, their order and the seed.
 */
export function drawJoined(rows: readonly Example[], options: JoinOptions): Example[] {
  const { share, noRelation, seed } = options;
  const joined: Example[] = [];
  for (const [i, row] of rows.entries()) {
    const random = createRandom(mixSeed(seed, i, 0x701d));
    const [keeps, crosses] = [random.uniform() < share, random.uniform() < share];
    const kept = keeps && row.relations !== undefined ? joinWithAnother(rows, i, random, options) : null;
    if (kept) joined.push({ ...kept.own, relations: row.relations });
    const crossed = crosses ? joinWithAnother(rows, i, random, options) : null;
    if (crossed) joined.push({ ...acrossPair(crossed, random), relations: [noRelation] });
  }
  return joined;
}

/** Two rows in one sentence. */
interface Join {
  own: Example;
  other: Example;
}

function joinWithAnother(rows: readonly Example[], index: number, random: Random, options: JoinOptions): Join | null {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const other = rows[random.below(rows.length)];
    const isFirst = random.uniform() < 0.5;
    const join = joinTwo(isFirst ? rows[index] : other, isFirst ? other : rows[index], random);
    if (join && join.own.sentence.length <= options.mostCharacters) {
      return isFirst ? join : { own: join.other, other: join.own };
    }
  }
  return null;
}

/** Both rows in the sentence that they make; null where an entity of one occurs in the other. */
function joinTwo(first: Example, second: Example, random: Random): Join | null {
  const clashes = (a: Example, b: Example) => [a.head, a.tail].some((entity) => b.sentence.includes(entity));
  if (clashes(first, second) || clashes(second, first)) return null;
  const { start, end } = beginning(first, random);
  const sentence = start + end + second.sentence;
  // An entity could arise where the two meet.
  if (
    countOf(sentence, first) !== countOf(start, first) ||
    countOf(sentence, second) !== countOf(second.sentence, second)
  ) {
    return null;
  }
  return { own: moved(first, sentence, 0), other: moved(second, sentence, start.length + end.length) };
}

/** The first sentence and what ends it: its own mark, a comma or a semicolon. No entity loses a character. */
function beginning(
  { sentence, head, tail, headSpan, tailSpan }: Example,
  random: Random,
): { start: string; end: string } {
  const last = sentence.at(-1) as string;
  const takesComma = random.uniform() < COMMA_SHARE;
  const comma = random.uniform() < 0.67 ? "，" : "；";
  if (!/[。！？；，…]/u.test(last)) return { start: sentence, end: comma };
  const isEntity =
    [headSpan?.end ?? 0, tailSpan?.end ?? 0].includes(sentence.length) ||
    [head, tail].some((one) => one.endsWith(last));
  return takesComma && !isEntity ? { start: sentence.slice(0, -1), end: comma } : { start: sentence, end: "" };
}

function countOf(sentence: string, { head, tail }: Example): number {
  return sentence.split(head).length + sentence.split(tail).length;
}

function moved({ head, tail, headSpan, tailSpan }: Example, sentence: string, by: number): Example {
  const shifted = (span: Span | undefined) => span && { start: span.start + by, end: span.end + by };
  const spans = { headSpan: shifted(headSpan), tailSpan: shifted(tailSpan) };
  return {
    sentence,
    head,
    tail,
    ...(spans.headSpan ? { headSpan: spans.headSpan } : {}),
    ...(spans.tailSpan ? { tailSpan: spans.tailSpan } : {}),
  };
}

/** One entity of each row as head and tail, in either order. */
function acrossPair({ own, other }: Join, random: Random): Example {
  const entityOf = (row: Example) =>
    random.uniform() < 0.5 ? { text: row.head, span: row.headSpan } : { text: row.tail, span: row.tailSpan };
  const two = [entityOf(own), entityOf(other)];
  const [head, tail] = random.uniform() < 0.5 ? two : two.reverse();
  return {
    sentence: own.sentence,
    head: head.text,
    tail: tail.text,
    ...(head.span ? { headSpan: head.span } : {}),
    ...(tail.span ? { tailSpan: tail.span } : {}),
  };
}
