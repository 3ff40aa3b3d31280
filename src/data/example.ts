import { textDifference } from "./text-difference.ts";

/** Character offsets [start, end) into a sentence, in UTF-16 code units as JavaScript counts them. */
export interface Span {
  start: number;
  end: number;
}

/** A sentence with two entities in it and, where known, the relations between them (of several rows, merged). */
export interface Example {
  sentence: string;
  head: string;
  tail: string;
  /** The gold labels in file order, repeats kept; undefined for an example without gold. */
  relations?: string[];
  /** The place of the mention, when the data has it; otherwise every occurrence counts. */
  headSpan?: Span;
  tailSpan?: Span;
  /** The owner's name for the row, kept unchanged; a bigint for a whole number beyond 2^53. */
  id?: string | number | bigint;
  /** What annotators said, as shares of labels that add up to 1; a training learns them in the place of `relations`. */
  softLabels?: Readonly<Record<string, number>>;
}

/** What a label means, for an annotator: a text, and examples in which it holds. */
export interface LabelDefinition {
  definition: string;
  examples: readonly Pick<Example, "sentence" | "head" | "tail" | "headSpan" | "tailSpan">[];
}

/** The closed set of labels of a schema. */
export interface LabelSet {
  /** All labels in their declared order. */
  labels: readonly string[];
  /** The label that means "no relation", or null when the schema has none. */
  noRelation: string | null;
  /** False where the schema says that no label means "no relation"; absent where it says nothing. */
  hasNoRelation?: false;
  /** label → the label that holds for (tail, head); a symmetric label maps to itself; a label without a known inverse is absent. */
  inverses: ReadonlyMap<string, string>;
  /** label → the types of (head, tail) that it holds between, "*" for any; a label without an entry holds between all. Absent: no constraint. */
  types?: ReadonlyMap<string, readonly TypePair[]>;
  /** What labels mean; absent where the schema does not say it. */
  definitions?: ReadonlyMap<string, LabelDefinition>;
}

/** The types of head and tail. */
export type TypePair = readonly [head: string, tail: string];

/** The places of an entity in a sentence: its span when one is given, else every occurrence from the left, without overlaps. */
export function mentionsOf(sentence: string, entity: string, span?: Span): Span[] {
  if (span !== undefined) return [span];
  const mentions: Span[] = [];
  if (entity === "") return mentions;
  for (let start = sentence.indexOf(entity); start >= 0; start = sentence.indexOf(entity, start + entity.length)) {
    mentions.push({ start, end: start + entity.length });
  }
  return mentions;
}

/** What is wrong with the sentence, the entities or the spans of an example ("got …, expected …"), or null. */
export function exampleProblem(example: Example): string | null {
  const { sentence, head, tail } = example;
  for (const [name, text] of Object.entries({ sentence, head, tail })) {
    if (text.trim() === "") return `got an empty ${name}, expected text`;
    if (/\p{Surrogate}/u.test(text)) return `got half a surrogate pair in the ${name}, expected whole characters`;
  }
  return (
    mentionProblem(sentence, "head", head, example.headSpan) ?? mentionProblem(sentence, "tail", tail, example.tailSpan)
  );
}

function mentionProblem(sentence: string, role: string, entity: string, span: Span | undefined): string | null {
  if (span !== undefined) return spanProblem(sentence, role, entity, span);
  if (sentence.includes(entity)) return null;
  const difference = textDifference(sentence, entity);
  const shown = quoted(sentence);
  return `got the ${role} ${quoted(entity)}, expected a part of the sentence ${shown}${difference ? ` (${difference})` : ""}`;
}

/** What is wrong with the span of an entity, or null. */
export function spanProblem(sentence: string, role: string, entity: string, { start, end }: Span): string | null {
  if (sentence.slice(start, end) === entity && start >= 0) return null;
  const got = `got the ${role} span [${start}, ${end})`;
  if (Array.from(sentence).slice(start, end).join("") === entity && start >= 0) {
    return `${got} counted in code points, expected UTF-16 code units (as JavaScript and Java count)`;
  }
  if (start < 0 || end <= start || end > sentence.length) {
    return `${got}, expected 0 ≤ start < end ≤ ${sentence.length}`;
  }
  const found = sentence.slice(start, end);
  const difference = textDifference(found, entity);
  return `${got}, which is ${quoted(found)}, expected ${quoted(entity)}${difference ? ` (${difference})` : ""}`;
}

/**
 * Characters that no one sees, or that look like another one: controls, format characters (zero-width space, direction mark), spaces other
 * than U+0020 and U+3000, separators, variation selectors, combining marks.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Mn}\p{Me}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3164\uffa0]/gu;

/** A text in quotation marks, cut to fit into a message; characters that cannot be seen are escaped (\\u200b). */
export function quoted(text: string, maxChars = 40): string {
  const chars = Array.from(text.slice(0, 2 * maxChars + 2));
  const isWhole = chars.length <= maxChars && chars.join("").length === text.length;
  return isWhole ? escaped(text) : `${escaped(chars.slice(0, maxChars).join(""))}…`;
}

function escaped(text: string): string {
  return JSON.stringify(text).replace(UNSEEN, (character) =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`,
    ).join(""),
  );
}
