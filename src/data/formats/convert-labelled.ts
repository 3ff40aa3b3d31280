import { readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { messageOf, UserError, UserErrors } from "../../base/errors.ts";
import { writeAtomic, writeFileAtomic } from "../../base/files.ts";
import { makeFolder } from "../../base/output.ts";
import { convertExamples } from "../convert.ts";
import type { Example } from "../example.ts";
import { createLabelSet, labelSetToJson } from "../label-set.ts";
import { type AnnotatedSentence, mentionsFileName, mentionsLine } from "../mentions-file.ts";
import { noRelationLookalike } from "../no-relation.ts";
import type { BadRow, OnBadRow, SplitName } from "../split.ts";
import { SPLIT_NAMES, splitOfName } from "../split-names.ts";
import { expectEmptyFolder } from "../without-rows.ts";
import {
  type ConversionCounts,
  DEFAULT_NO_RELATION,
  type ExampleOptions,
  emptyConversionCounts,
  rowExamples,
} from "./examples.ts";
import { jsonRows } from "./json-rows.ts";
import { isObject, type LabelledFormat } from "./labelled.ts";
import { LABELLED_FORMATS, type LabelledFormatName, recogniseRow } from "./registry.ts";

export interface ConversionOptions {
  /** Share of the unlabelled pairs that are written as examples of no relation; default 0. */
  negatives?: number;
  /** The label for no relation; default the one of the data that means it by its name, else "unknown" where negatives are written. */
  noRelation?: string;
  seed?: number;
  /** The split of a single file, or of files whose names name none; default train. */
  split?: SplitName;
  onBadRow?: OnBadRow;
  /** Cuts documents into sentences; default: they stay whole. */
  sentencesOf?: ExampleOptions["sentencesOf"];
}

export interface Conversion {
  splits: { split: SplitName; files: string[]; counts: ConversionCounts }[];
  labels: string[];
  noRelation: string | null;
  /** The first problems; `counts.problems` counts all. */
  badRows: BadRow[];
}

const MAX_LISTED_BAD_ROWS = 1000;
/** Lines of mentions that are written together. */
const MENTION_LINES = 1000;

/**
 * Converts labelled data of another program into a data folder of this one: a JSONL file a split, and labels.json with the labels that were
 * found. Inverse labels are not guessed. Nothing is written unless every row can be used or bad rows may be skipped. Throws a UserError for
 * files that are not the format, naming the format that they look like.
 */
export async function convertLabelled(
  input: string,
  formatName: LabelledFormatName,
  output: string,
  options: ConversionOptions = {},
): Promise<Conversion> {
  const { negatives = 0, seed = 1, split = "train", onBadRow = "stop", sentencesOf = null } = options;
  const format: LabelledFormat = LABELLED_FORMATS[formatName];
  await expectEmptyFolder(output);
  const sources = await splitFiles(input, format, split);
  const settings: ExampleOptions = {
    negatives,
    noRelation: options.noRelation ?? DEFAULT_NO_RELATION,
    seed,
    sentencesOf: format.isDocument ? sentencesOf : null,
  };
  // A first pass finds the labels and the bad rows, so that nothing is written of data that cannot be used.
  const own = await findLabels(sources, formatName, settings, onBadRow);
  const noRelation = options.noRelation ?? noRelationLookalike(own) ?? (negatives > 0 ? DEFAULT_NO_RELATION : null);
  if (noRelation !== null) settings.noRelation = noRelation;
  const labels = noRelation === null || own.includes(noRelation) ? own : [...own, noRelation];
  const labelSet = createLabelSet({ labels, noRelation }, `the labels of ${input}`);
  await makeFolder(output);
  const conversion: Conversion = { splits: [], labels, noRelation, badRows: [] };
  for (const { split: name, files } of sources) {
    const counts = emptyConversionCounts();
    let hasMentions = false;
    await writeAtomic(join(output, mentionsFileName(name)), async (mentionsFile) => {
      const sentences: string[] = [];
      const onSentence = (one: AnnotatedSentence) => sentences.push(`${mentionsLine(one)}\n`);
      await writeAtomic(join(output, `${name}.jsonl`), async (handle) => {
        const examples = fileExamples(files, format, { ...settings, onSentence }, counts, conversion.badRows);
        for await (const line of convertExamples(examples, { format: "jsonl" })) {
          await handle.writeFile(`${line}\n`);
          if (sentences.length < MENTION_LINES) continue;
          await mentionsFile.writeFile(sentences.splice(0).join(""));
          hasMentions = true;
        }
      });
      hasMentions ||= sentences.length > 0;
      await mentionsFile.writeFile(sentences.join(""));
    });
    // Formats of pairs have no names but those of the pairs.
    if (!hasMentions) await rm(join(output, mentionsFileName(name)), { force: true });
    conversion.splits.push({ split: name, files, counts });
  }
  await writeFileAtomic(join(output, "labels.json"), `${JSON.stringify(labelSetToJson(labelSet), null, 2)}\n`);
  return conversion;
}

async function* fileExamples(
  files: readonly string[],
  format: LabelledFormat,
  settings: ExampleOptions,
  counts: ConversionCounts,
  badRows: BadRow[],
): AsyncGenerator<Example> {
  for (const file of files) {
    for await (const row of format.read(file)) {
      yield* rowExamples(row, settings, counts);
      for (const problem of row.problems) {
        if (badRows.length < MAX_LISTED_BAD_ROWS) badRows.push({ file, line: row.line, problem });
      }
    }
  }
}

interface SplitSource {
  split: SplitName;
  files: string[];
}

/** The labels in the order of the files. Throws UserErrors for bad rows that may not be skipped, and when no row can be used. */
async function findLabels(
  sources: readonly SplitSource[],
  name: LabelledFormatName,
  settings: ExampleOptions,
  onBadRow: OnBadRow,
): Promise<string[]> {
  const format: LabelledFormat = LABELLED_FORMATS[name];
  const labels = new Set<string>();
  const problems: string[] = [];
  let count = 0;
  const withoutNegatives = { ...settings, negatives: 0 };
  for (const { split, files } of sources) {
    let rows = 0;
    let used = 0;
    for (const file of files) {
      for await (const row of format.read(file)) {
        rows++;
        if (row.problems.length === 0 || row.pairs.length + row.texts.length > 0) used++;
        for (const { relations = [] } of rowExamples(row, withoutNegatives, emptyConversionCounts())) {
          for (const label of relations) labels.add(label);
        }
        count += row.problems.length;
        for (const problem of row.problems) {
          if (problems.length < MAX_LISTED_BAD_ROWS) problems.push(`${file}, line ${row.line}: ${problem}.`);
        }
      }
    }
    if (rows === 0) throw new UserError(`${files.join(", ")}: has no rows, expected ${format.title}.`);
    if (used === 0 || (count > 0 && onBadRow === "stop")) {
      const other = used === 0 ? await otherFormat(files[0], format) : null;
      const hint =
        other === null || other === name
          ? "Correct the rows, or leave them out with --skip-bad: they are counted and listed."
          : `The rows look like ${LABELLED_FORMATS[other].title}: --from ${other}`;
      const title =
        used === 0
          ? `The ${split} split is not ${format.title}, expected ${format.expected}:`
          : `The ${split} split has ${count} rows or parts of rows that cannot be used:`;
      throw new UserErrors(title, problems, { hint });
    }
  }
  if (labels.size === 0) throw new UserError("The data has no relations, expected at least one label.");
  return [...labels];
}

/** The format that the first rows of a file look like; null when none is known. */
async function otherFormat(file: string, { extensions }: LabelledFormat): Promise<LabelledFormatName | null> {
  if (!extensions.includes("json") && !/\.(jsonl?|ndjson)$/.test(file)) return null;
  for await (const { value } of jsonRows(file)) if (isObject(value)) return recogniseRow(value);
  return null;
}

/** The files of each split. Throws a UserError for none, and for two that are the same split by their names. */
async function splitFiles(input: string, format: LabelledFormat, split: SplitName): Promise<SplitSource[]> {
  const info = await stat(input).catch((error: unknown) => messageOf(error));
  if (typeof info === "string") {
    throw new UserError(`${input}: cannot be read (${info}), expected ${format.title}: a file or a folder.`);
  }
  if (!info.isDirectory()) return [{ split, files: [input] }];
  const names = (await readdir(input, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  const isOurs = (name: string) => format.extensions.some((ending) => name.toLowerCase().endsWith(`.${ending}`));
  const found: { split: SplitName; files: string[] }[] = [];
  const own = names.filter((entry) => !entry.isDirectory() && isOurs(entry.name)).map(({ name }) => name);
  if (format.extensions.includes("ann")) {
    for (const folder of names.filter((entry) => entry.isDirectory())) {
      const inside = (await readdir(join(input, folder.name))).filter(isOurs).sort();
      const of = splitOfName(folder.name);
      if (of !== null && inside.length > 0)
        found.push({ split: of, files: inside.map((name) => join(input, folder.name, name)) });
    }
    if (found.length === 0 && own.length > 0) found.push({ split, files: own.map((name) => join(input, name)) });
  } else {
    for (const name of own) {
      const of = splitOfName(basename(name).replace(/\.[^.]*$/, "")) ?? (own.length === 1 ? split : null);
      if (of !== null) found.push({ split: of, files: [join(input, name)] });
    }
  }
  const twice = found.find((one, i) => found.findIndex((other) => other.split === one.split) < i);
  if (twice !== undefined) {
    const both = found.filter(({ split: name }) => name === twice.split).flatMap(({ files }) => files);
    throw new UserError(`${input}: ${both.join(" and ")} are both ${twice.split} by their names, expected one.`);
  }
  if (found.length === 0) {
    const seen =
      names
        .map(({ name }) => name)
        .slice(0, 20)
        .join(", ") || "nothing";
    const endings = format.extensions.map((ending) => `.${ending}`).join(", ");
    throw new UserError(`${input}: has ${seen}, expected ${format.title} in files that end with ${endings}.`, {
      hint: "Names of splits are train, valid or dev, and test.",
    });
  }
  return SPLIT_NAMES.flatMap((name) => found.filter((one) => one.split === name));
}
