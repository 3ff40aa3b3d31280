import type { Example, Span } from "../example.ts";

/** A name in a text, with its type where the data has one. */
export interface Mention extends Span {
  type?: string;
}

/** A text whose mentions and relations are marked; the mentions are those that the annotator saw. */
export interface AnnotatedText {
  text: string;
  id?: Example["id"];
  mentions: readonly Mention[];
  /** Indices of mentions. */
  relations: readonly { head: number; tail: number; label: string }[];
}

/** What one row of a file gives. A row may have a part that cannot be used and others that can. */
export interface LabelledRow {
  line: number;
  /** Texts with places. */
  texts: AnnotatedText[];
  /** Pairs without a place of the others: nothing is known of further pairs. */
  pairs: Example[];
  /** Ordered pairs of names in the same sentence that have no label, for formats without places. */
  unlabelled: Example[];
  /** What cannot be used ("got …, expected …"). */
  problems: string[];
  /** What the format has and a relation between two names does not: events, slots, a second annotator. */
  dropped: Readonly<Record<string, number>>;
}

/** A format of labelled data that other programs write. */
export interface LabelledFormat {
  /** For messages: "SpERT JSON". */
  title: string;
  /** What a row looks like, for messages. */
  expected: string;
  /** Endings of files, without the dot. */
  extensions: readonly string[];
  /** Whether a row is a whole document, which is cut into sentences. */
  isDocument: boolean;
  /** Whether a parsed row looks like this format, by its keys; a format that is no JSON has none. */
  recognise?(row: Readonly<Record<string, unknown>>): boolean;
  /** Yields the rows of a file. Throws a UserError when the file cannot be read at all. */
  read(file: string): AsyncGenerator<LabelledRow>;
}

export const emptyRow = (line: number): LabelledRow => ({
  line,
  texts: [],
  pairs: [],
  unlabelled: [],
  problems: [],
  dropped: {},
});

/** A row that cannot be used. */
export const badRow = (line: number, problem: string): LabelledRow => ({ ...emptyRow(line), problems: [problem] });

/** Whether a value is a list of texts. */
export const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

/** Whether a value is an object. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether start and end are offsets of a part of something with `length` units that is not empty. */
export const isRange = (start: unknown, end: unknown, length: number): boolean =>
  Number.isSafeInteger(start) &&
  Number.isSafeInteger(end) &&
  (start as number) >= 0 &&
  (start as number) < (end as number) &&
  (end as number) <= length;
