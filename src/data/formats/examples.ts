import { mixSeed } from "../../base/random.ts";
import { type Example, exampleProblem, type Span } from "../example.ts";
import { type AnnotatedSentence, MOST_MENTIONS } from "../mentions-file.ts";
import type { AnnotatedText, LabelledRow, Mention } from "./labelled.ts";

/** What was read and what became of it. */
export interface ConversionCounts {
  /** Rows of the files. */
  rows: number;
  /** Rows, or parts of rows, that cannot be used. */
  problems: number;
  /** Examples with a label of the data. */
  labelled: number;
  /** Ordered pairs of names in one sentence without a label in either direction. */
  unlabelled: number;
  /** Those of them that were written with the label for no relation. */
  negatives: number;
  /** Parts that were left out, by kind. */
  dropped: Record<string, number>;
}

export const emptyConversionCounts = (): ConversionCounts => ({
  rows: 0,
  problems: 0,
  labelled: 0,
  unlabelled: 0,
  negatives: 0,
  dropped: {},
});

export interface ExampleOptions {
  /** Share of the unlabelled pairs that become examples of no relation, from 0 to 1. */
  negatives: number;
  /** The label of those. */
  noRelation: string;
  seed: number;
  /** Cuts a document; null leaves it whole. */
  sentencesOf: ((text: string) => readonly Span[]) | null;
  /** Hears each sentence with the places of its names. */
  onSentence?: (sentence: AnnotatedSentence) => void;
}

/** The examples of a row, labelled ones first. What cannot be used is added to the row's problems. */
export function* rowExamples(row: LabelledRow, options: ExampleOptions, counts: ConversionCounts): Generator<Example> {
  const drop = (kind: string, number = 1) => {
    counts.dropped[kind] = (counts.dropped[kind] ?? 0) + number;
  };
  counts.rows++;
  for (const [kind, number] of Object.entries(row.dropped)) drop(kind, number);
  for (const pair of row.pairs) {
    counts.labelled++;
    yield pair;
  }
  for (const pair of row.unlabelled) yield* negative(pair, options, counts);
  for (const text of row.texts) {
    const { parts, across } = sentencesOf(text, options.sentencesOf);
    if (across > 0) drop("relations over the end of a sentence", across);
    for (const part of parts) {
      const labelled = labelledPairs(part, row.problems);
      for (const pair of labelled.examples) {
        counts.labelled++;
        yield pair;
      }
      if (part.mentions.length > MOST_MENTIONS) drop(`unlabelled pairs of texts with more than ${MOST_MENTIONS} names`);
      else {
        if (part.mentions.length > 1) options.onSentence?.({ sentence: part.text, mentions: part.mentions });
        for (const pair of unlabelledPairs(part, labelled.keys)) yield* negative(pair, options, counts);
      }
    }
  }
  counts.problems += row.problems.length;
}

function* negative(pair: Example, options: ExampleOptions, counts: ConversionCounts): Generator<Example> {
  counts.unlabelled++;
  if (chance(pair, options.seed) >= options.negatives) return;
  counts.negatives++;
  yield { ...pair, relations: [options.noRelation] };
}

/** A number in [0, 1) that depends on the pair alone, so that the choice does not depend on the order of rows. */
function chance({ sentence, head, tail, headSpan, tailSpan }: Example, seed: number): number {
  let hash = 0x811c9dc5;
  const key = `${head}\t${tail}\t${headSpan?.start}\t${tailSpan?.start}\t${sentence}`;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return mixSeed(seed, hash, key.length) / 2 ** 32;
}

/** The sentences of a document with their mentions; a mention is never cut. */
function sentencesOf(
  whole: AnnotatedText,
  cut: ExampleOptions["sentencesOf"],
): { parts: AnnotatedText[]; across: number } {
  if (cut === null) return { parts: [whole], across: 0 };
  const order = whole.mentions.map((mention, index) => ({ mention, index }));
  order.sort((a, b) => a.mention.start - b.mention.start);
  const parts: { start: number; end: number; members: number[] }[] = [];
  let next = 0;
  for (const { start, end } of cut(whole.text)) {
    const last = parts.at(-1);
    const part = last !== undefined && start < last.end ? last : { start, end, members: [] };
    if (part !== last) parts.push(part);
    part.end = Math.max(part.end, end);
    for (; next < order.length && order[next].mention.start < part.end; next++) {
      part.members.push(order[next].index);
      part.end = Math.max(part.end, order[next].mention.end);
      part.start = Math.min(part.start, order[next].mention.start);
    }
  }
  const placeOf = new Map<number, { part: number; at: number }>();
  for (const [i, { members }] of parts.entries()) {
    for (const [at, member] of members.entries()) placeOf.set(member, { part: i, at });
  }
  const relationsOf = new Map<number, AnnotatedText["relations"][number][]>();
  let across = 0;
  for (const { head, tail, label } of whole.relations) {
    const [from, to] = [placeOf.get(head), placeOf.get(tail)];
    if (from === undefined || to === undefined || from.part !== to.part) {
      across++;
      continue;
    }
    const relation = { head: from.at, tail: to.at, label };
    const list = relationsOf.get(from.part);
    if (list === undefined) relationsOf.set(from.part, [relation]);
    else list.push(relation);
  }
  const moved = ({ start, end, members }: (typeof parts)[number], i: number): AnnotatedText => ({
    text: whole.text.slice(start, end),
    id: whole.id,
    mentions: members.map((member) => {
      const mention = whole.mentions[member];
      return { ...mention, start: mention.start - start, end: mention.end - start };
    }),
    relations: relationsOf.get(i) ?? [],
  });
  return { parts: parts.map(moved).filter(({ mentions }) => mentions.length > 1), across };
}

/** The label of no relation where the data has none. */
export const DEFAULT_NO_RELATION = "unknown";

const keyOf = (head: number, tail: number): string => `${head} ${tail}`;

/** One example for each pair that has labels, and the keys of those pairs in both directions. */
function labelledPairs(part: AnnotatedText, problems: string[]): { examples: Example[]; keys: Set<string> } {
  const pairs = new Map<string, Example>();
  const keys = new Set<string>();
  for (const { head, tail, label } of part.relations) {
    keys.add(keyOf(head, tail)).add(keyOf(tail, head));
    const earlier = pairs.get(keyOf(head, tail));
    if (earlier !== undefined) {
      if (!earlier.relations?.includes(label)) earlier.relations?.push(label);
      continue;
    }
    const pair = { ...pairOf(part, part.mentions[head], part.mentions[tail]), relations: [label] };
    const problem = head === tail ? `got a relation of ${JSON.stringify(pair.head)} with itself` : exampleProblem(pair);
    if (problem === null) pairs.set(keyOf(head, tail), pair);
    else problems.push(problem);
  }
  return { examples: [...pairs.values()], keys };
}

/** Ordered pairs without a label in either direction: of names that differ and do not overlap. */
function* unlabelledPairs(part: AnnotatedText, labelled: ReadonlySet<string>): Generator<Example> {
  const { mentions } = part;
  for (const [i, head] of mentions.entries()) {
    for (const [j, tail] of mentions.entries()) {
      if (i === j || labelled.has(keyOf(i, j)) || (head.start < tail.end && tail.start < head.end)) continue;
      const pair = pairOf(part, head, tail);
      if (pair.head !== pair.tail && exampleProblem(pair) === null) yield pair;
    }
  }
}

function pairOf({ text, id }: AnnotatedText, head: Mention, tail: Mention): Example {
  return {
    ...(id === undefined ? {} : { id }),
    sentence: text,
    head: text.slice(head.start, head.end),
    tail: text.slice(tail.start, tail.end),
    headSpan: { start: head.start, end: head.end },
    tailSpan: { start: tail.start, end: tail.end },
  };
}
