import { stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError, UserErrors } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import { type DatasetFormat, openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { emptyConversionCounts, rowExamples } from "../data/formats/examples.ts";
import type { LabelledFormat } from "../data/formats/labelled.ts";
import { LABELLED_FORMATS } from "../data/formats/registry.ts";
import { readJsonl } from "../data/jsonl.ts";
import type { LabelMask } from "../data/label-types.ts";
import type { OnBadRow } from "../data/split.ts";
import { inputKey } from "../data/split.ts";
import type { MentionFinder } from "../documents/mention.ts";
import { createPairer, type PairCounts, type PairSettings } from "../documents/pairs.ts";
import type { ReadItem } from "../documents/read/format.ts";
import { splitSentences } from "../documents/sentences.ts";

/** A pair to be labelled. */
export interface Question {
  example: Example;
  /** Labels that the types of the entities allow; null for all. */
  mask: LabelMask | null;
  /** The document that it comes from. */
  document?: string;
}

export interface QuestionCounts {
  rows: number;
  bad: number;
  /** Rows with the input of an earlier one. */
  repeated: number;
  /** Rows whose own relations are not read. */
  labelled: number;
  /** Rows that were left out because only some were wanted. */
  leftOut: number;
}

export interface Questions {
  questions: Question[];
  counts: QuestionCounts;
  /** Of documents. */
  pairs: (PairCounts & { documents: number; badDocuments: number }) | null;
  /** The first bad rows and documents. */
  problems: string[];
}

/** Formats of rows: those that a recipe may name as `data.format`. */
export type RowFormat = DatasetFormat;

const MAX_SHOWN = 20;

/** Collects questions, each input once. */
function collector() {
  const counts: QuestionCounts = { rows: 0, bad: 0, repeated: 0, labelled: 0, leftOut: 0 };
  const known = new Set<string>();
  const questions: Question[] = [];
  const problems: string[] = [];
  return {
    ...{ counts, questions, problems },
    add({ example: { relations, softLabels: _, ...example }, mask, document }: Question) {
      const key = inputKey(example);
      if (known.has(key)) {
        counts.repeated++;
        return;
      }
      known.add(key);
      if (relations !== undefined) counts.labelled++;
      questions.push({ example, mask, ...(document === undefined ? {} : { document }) });
    },
    bad(problem: string) {
      counts.bad++;
      if (problems.length < MAX_SHOWN) problems.push(problem);
    },
  };
}

/**
 * Reads pairs from a file of rows (JSONL, unless `format` says another), or from the training rows of a data folder; their own relations are not
 * read. Throws UserErrors for bad rows, unless they are skipped, and a UserError for an input without a row.
 */
export async function readRows(
  input: string,
  format: RowFormat | undefined,
  labels: LabelSet,
  onBadRow: OnBadRow,
): Promise<Questions> {
  const { add, bad, ...read } = collector();
  for await (const row of examplesOf(input, format, labels)) {
    read.counts.rows++;
    if ("problem" in row) bad(`${row.where}: ${row.problem}.`);
    else add({ example: row.example, mask: null });
  }
  const { counts, problems } = read;
  if (counts.bad > 0 && (onBadRow === "stop" || counts.bad === counts.rows)) {
    const shown = counts.bad > problems.length ? [...problems, `… and ${counts.bad - problems.length} more`] : problems;
    throw new UserErrors(`${input}: ${counts.bad} of ${counts.rows} rows cannot be used:`, shown, {
      hint:
        counts.bad === counts.rows
          ? "Is this the right --format? Documents need --entities."
          : "Correct the rows, or leave them out with --skip-bad: they are counted and listed.",
    });
  }
  if (read.questions.length === 0)
    throw new UserError(`${input}: has no row to label, expected {sentence, head, tail}.`);
  return { ...read, pairs: null };
}

type ReadRow = { example: Example } | { where: string; problem: string };

async function* examplesOf(input: string, format: RowFormat | undefined, labels: LabelSet): AsyncGenerator<ReadRow> {
  const info = await stat(input).catch((error: unknown) => {
    throw new UserError(`${input}: cannot be read (${messageOf(error)}), expected rows or documents.`);
  });
  if (format === "chinese-nre" || (format === undefined && info.isDirectory())) {
    const dataset = await openDataset(input, { format: format ?? "auto", ...(format ? {} : { labels }) });
    if (dataset.format === "chinese-nre") {
      // Its labels are those of the folder: rows with others would be bad ones.
      const own = await openDataset(input, { format: "chinese-nre" });
      const { examples, badRows } = await own.split("train", { onBadRow: "skip" });
      for (const example of examples) yield { example };
      for (const { file, line, problem } of badRows) yield { where: `${file}, line ${line}`, problem };
      return;
    }
    yield* jsonlRows(join(input, `train.${dataset.extension}`));
    return;
  }
  if (format === undefined || format === "jsonl") {
    yield* jsonlRows(info.isDirectory() ? join(input, "train.jsonl") : input);
    return;
  }
  const reader: LabelledFormat = LABELLED_FORMATS[format];
  const file = info.isDirectory() ? await trainFile(input, reader) : input;
  const settings = { negatives: 1, noRelation: "-", seed: 0, sentencesOf: null };
  for await (const row of reader.read(file)) {
    for (const example of [...rowExamples(row, settings, emptyConversionCounts())]) yield { example };
    for (const problem of row.problems) yield { where: `${file}, line ${row.line}`, problem };
  }
}

async function trainFile(directory: string, { extensions }: LabelledFormat): Promise<string> {
  for (const extension of extensions) {
    const file = join(directory, `train.${extension}`);
    if (await stat(file).catch(() => null)) return file;
  }
  throw new UserError(`${directory}: has no train.${extensions.join(", no train.")}.`, {
    hint: "Give the file itself.",
  });
}

async function* jsonlRows(file: string): AsyncGenerator<ReadRow> {
  for await (const { line, example, problem } of readJsonl(file)) {
    yield example === null ? { where: `${file}, line ${line}`, problem } : { example };
  }
}

/** Reads the pairs of entities in documents, in both orders where an order does not answer for the other. */
export async function readDocumentPairs(
  documents: AsyncIterable<ReadItem>,
  finder: MentionFinder,
  labels: LabelSet,
  settings: PairSettings & { maxCharacters: number },
  onDocument: (documents: number, pairs: number) => void = () => {},
): Promise<Questions> {
  const { add, bad, ...read } = collector();
  const pairer = createPairer(labels, settings);
  let [count, badCount] = [0, 0];
  for await (const document of documents) {
    if ("bad" in document) {
      badCount++;
      bad(`${document.bad.id}: ${document.bad.reason}`);
      continue;
    }
    count++;
    const sentences = splitSentences(document.text, { maxCharacters: settings.maxCharacters });
    for (const { forward, backward } of pairer.pairsOf(document, sentences, finder.find(document, sentences))) {
      for (const question of [forward, backward]) {
        if (question === null) continue;
        read.counts.rows++;
        add({ ...question, document: document.id });
      }
    }
    onDocument(count, read.questions.length);
  }
  if (read.questions.length === 0) {
    throw new UserError(`No pair of entities was found in ${count} documents.`, {
      hint: "Look at the names in --entities, or give more sentences to a pair: --window 2.",
    });
  }
  return { ...read, pairs: { ...pairer.counts, documents: count, badDocuments: badCount } };
}

/** Some of the questions, chosen by the seed, in their order. */
export function chosenQuestions(read: Questions, wanted: number, seed: number): Questions {
  const { questions, counts } = read;
  if (wanted >= questions.length) return read;
  const places = createRandom(seed)
    .shuffle([...questions.keys()])
    .slice(0, wanted)
    .sort((a, b) => a - b);
  const leftOut = questions.length - wanted;
  return { ...read, questions: places.map((place) => questions[place]), counts: { ...counts, leftOut } };
}
