import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { readChineseNreSplit } from "./chinese-nre.ts";
import type { LabelSet } from "./example.ts";
import { findPairLabels, readPairSplit } from "./formats/read-split.ts";
import { findTextLabels, readTextMentions, readTextSplit } from "./formats/read-texts.ts";
import {
  LABELLED_FORMATS,
  PAIR_FORMAT_NAMES,
  type PairFormatName,
  TEXT_FORMAT_NAMES,
  type TextFormatName,
} from "./formats/registry.ts";
import { readJsonlSplit } from "./jsonl.ts";
import { chineseNreLabelSet, parseLabelsJson, parseRelation2id } from "./label-set.ts";
import { type AnnotatedSentence, mentionsFileName, readMentionsFile } from "./mentions-file.ts";
import { undeclaredNotices } from "./no-relation.ts";
import type { Normalization } from "./normalize.ts";
import type { Split, SplitName, SplitOptions } from "./split.ts";
import { namesSplit, SPLIT_NAMES } from "./split-names.ts";

/** A folder with train, valid and test examples and their labels. */
export interface Dataset {
  /** The name of the folder. */
  name: string;
  directory: string;
  format: DatasetFormat;
  /** The ending of the splits' files, without the dot. */
  extension: string;
  labels: LabelSet;
  /** The splits that have a file, in the order train, valid, test. */
  splitNames: readonly SplitName[];
  /** What a user should know of the folder: a label that may mean "no relation" and is not declared as that. */
  notices: readonly string[];
  /** Names the file that may have been meant for a split that is missing ("dev.jsonl is not read; …"); null when there is none. */
  nearSplit(name: SplitName): string | null;
  /** Reads a split; throws a UserError when it is missing or empty and UserErrors for bad rows, unless they are skipped. */
  split(name: SplitName, options?: SplitOptions): Promise<Split>;
  /** The entities of a split's sentences with their places, where the folder has a file of them (`train.mentions.jsonl`); else none. */
  mentions(name: SplitName): Promise<AnnotatedSentence[]>;
}

/** The formats of this program, and those of others whose rows are pairs, or texts that need not be cut into sentences. */
export type DatasetFormat = "chinese-nre" | "jsonl" | PairFormatName | TextFormatName;

/** The formats that a recipe may name. */
export const DATASET_FORMATS = [
  "chinese-nre",
  "jsonl",
  ...PAIR_FORMAT_NAMES,
  ...TEXT_FORMAT_NAMES,
] as const satisfies DatasetFormat[];

const MAX_LABEL_FILE_BYTES = 4_000_000;
/** Endings under which rows are kept; archives may be around them. */
const ROW_FILE = /^(?<name>[^.]+)\.(?:jsonl?|ndjson|csv|tsv|txt|parquet)(?:\.(?:gz|zip|bz2|xz|zst))?$/i;

/** How a split of a format is read. */
interface FormatReader {
  /** Endings of the splits' files; the first of which the folder has a split counts. */
  extensions: readonly string[];
  /** Null for a format whose labels may be found in its rows. */
  findLabels: ((files: readonly string[], where: string) => Promise<{ labels: LabelSet; notice: string }>) | null;
  labelsFile: "relation2id.txt" | "labels.json";
  readSplit(file: string, labels: LabelSet, options: SplitOptions): Promise<Split>;
  /** Of a format whose rows have the places of all entities. */
  readMentions?(file: string, normalize?: Normalization): Promise<AnnotatedSentence[]>;
}

const pairReader = (format: PairFormatName): FormatReader => ({
  extensions: LABELLED_FORMATS[format].extensions,
  findLabels: (files, where) => findPairLabels(format, files, where),
  labelsFile: "labels.json",
  readSplit: (file, labels, options) => readPairSplit(format, file, labels, options),
});

const textReader = (format: TextFormatName): FormatReader => ({
  extensions: LABELLED_FORMATS[format].extensions,
  findLabels: (files, where) => findTextLabels(format, files, where),
  labelsFile: "labels.json",
  readSplit: (file, labels, options) => readTextSplit(format, file, labels, options),
  readMentions: (file, normalize) => readTextMentions(format, file, normalize),
});

const FORMATS: Record<DatasetFormat, FormatReader> = {
  "chinese-nre": {
    extensions: ["txt"],
    findLabels: null,
    labelsFile: "relation2id.txt",
    readSplit: readChineseNreSplit,
  },
  jsonl: { extensions: ["jsonl"], findLabels: null, labelsFile: "labels.json", readSplit: readJsonlSplit },
  json: pairReader("json"),
  opennre: pairReader("opennre"),
  alpaca: pairReader("alpaca"),
  sharegpt: pairReader("sharegpt"),
  spert: textReader("spert"),
  duie: textReader("duie"),
  conll: textReader("conll"),
};

/**
 * Opens a folder of examples: `train.txt, valid.txt, test.txt, relation2id.txt` or `train.jsonl, valid.jsonl, test.jsonl, labels.json`.
 * `labels` replaces the labels of the folder; `normalize` is applied to sentence, head and tail of every row. Throws a UserError when the folder or its labels cannot be read.
 */
export async function openDataset(
  directory: string,
  options: { format?: DatasetFormat | "auto"; labels?: LabelSet; normalize?: Normalization } = {},
): Promise<Dataset> {
  const files = await filesIn(directory);
  const { format: wanted = "auto" } = options;
  const format = wanted === "auto" ? formatOf(directory, files) : wanted;
  const { extensions, findLabels, labelsFile, readSplit, readMentions } = FORMATS[format];
  const splitsWith = (ending: string) => SPLIT_NAMES.filter((name) => files.includes(`${name}.${ending}`));
  const extension = extensions.find((ending) => splitsWith(ending).length > 0) ?? extensions[0];
  const splitNames = splitsWith(extension);
  const isFound = findLabels !== null && !options.labels && splitNames.length > 0 && !files.includes(labelsFile);
  const splitPaths = splitNames.map((name) => join(directory, `${name}.${extension}`));
  const found = isFound ? await findLabels(splitPaths, directory) : null;
  const labels = options.labels ?? found?.labels ?? (await readLabels(join(directory, labelsFile), format, files));
  const declared = found === null ? undeclaredNotices(labels, join(directory, labelsFile)) : [found.notice];
  const nearSplit = (name: SplitName) => {
    // In a folder without any split the files of the others are worth a word too.
    const names = splitNames.length === 0 ? [name, ...SPLIT_NAMES.filter((other) => other !== name)] : [name];
    const hints = names.flatMap((one) => nearSplitHint(one, extension, files) ?? []);
    return hints.length === 0 ? null : hints.join(" ");
  };
  return {
    name: basename(resolve(directory)),
    directory,
    format,
    extension,
    labels,
    notices: options.labels ? [] : declared,
    nearSplit,
    splitNames,
    async split(name, splitOptions = {}) {
      const file = `${name}.${extension}`;
      if (!files.includes(file)) {
        const hint = nearSplit(name) ?? undefined;
        throw new UserError(`${directory}: has no ${name} split, expected ${file}; ${listed(files)}.`, { hint });
      }
      return readSplit(join(directory, file), labels, { normalize: options.normalize, ...splitOptions });
    },
    async mentions(name) {
      const own = `${name}.${extension}`;
      if (readMentions) return files.includes(own) ? readMentions(join(directory, own), options.normalize) : [];
      const file = mentionsFileName(name);
      return files.includes(file) ? readMentionsFile(join(directory, file), options.normalize) : [];
    },
  };
}

/** The name of the file of a split. */
export function splitFile({ extension }: Pick<Dataset, "extension">, split: SplitName): string {
  return `${split}.${extension}`;
}

/** The mistake of a folder without a train, valid or test file; names files that may have been meant. */
export function noSplits({ directory, extension, nearSplit }: Dataset): UserError {
  const expected = SPLIT_NAMES.map((name) => `${name}.${extension}`).join(", ");
  return new UserError(`${directory}: has no split, expected one of ${expected}.`, {
    hint: nearSplit("train") ?? undefined,
  });
}

async function filesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    throw new UserError(
      `${directory}: cannot be read as a folder (${messageOf(error)}), expected a folder of examples.`,
      {
        hint: "cre data fetch finre writes one.",
      },
    );
  }
}

function formatOf(directory: string, files: readonly string[]): DatasetFormat {
  const isChineseNre = files.includes("relation2id.txt");
  const isJsonl = files.includes("labels.json") || files.some((file) => file.endsWith(".jsonl"));
  if (isChineseNre && isJsonl) {
    throw new UserError(`${directory}: has relation2id.txt and JSONL files, expected one format.`, {
      hint: "Choose with the format chinese-nre or jsonl.",
    });
  }
  if (isChineseNre) return "chinese-nre";
  if (isJsonl) return "jsonl";
  throw new UserError(
    `${directory}: is no folder of examples; ${listed(files)}, expected train.txt and relation2id.txt, or train.jsonl and labels.json.`,
  );
}

async function readLabels(file: string, format: DatasetFormat, files: readonly string[]): Promise<LabelSet> {
  if (!files.includes(basename(file))) {
    const hint =
      format !== "chinese-nre"
        ? 'Write one: {"labels": ["A", "B", "none"], "noRelation": "none"}'
        : "One line a label: unknown 0";
    throw new UserError(`${file}: is missing; ${listed(files)}.`, { hint });
  }
  const text = await readTextFile(file, "the list of labels", MAX_LABEL_FILE_BYTES);
  if (text.trim() === "") throw new UserError(`${file}: is empty, expected the list of labels.`);
  if (format === "chinese-nre") return chineseNreLabelSet(parseRelation2id(text, file), file);
  return parseLabelsJson(text, file);
}

/** Names the file that may be meant for a split that is missing, and how to make it be read; null when there is none. */
function nearSplitHint(split: SplitName, extension: string, files: readonly string[]): string | null {
  const wanted = `${split}.${extension}`;
  if (files.includes(wanted)) return null;
  const near = files.filter((file) => {
    const name = ROW_FILE.exec(file)?.groups?.name.toLowerCase();
    return name !== undefined && namesSplit(name, split);
  });
  if (near.length === 0) return null;
  const isReady = near.some((file) => file.toLowerCase().endsWith(`.${extension}`));
  const step = isReady
    ? `rename it to ${wanted}`
    : `write its rows to ${wanted}${extension === "jsonl" ? ", one JSON object a line" : ""}`;
  return `${near.slice(0, 3).join(", ")} ${near.length === 1 ? "is" : "are"} not read; ${step}.`;
}

function listed(files: readonly string[]): string {
  if (files.length === 0) return "the folder is empty";
  const more = files.length > 20 ? ` and ${files.length - 20} more` : "";
  return `the files there are ${files.slice(0, 20).join(", ")}${more}`;
}
