import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { readChineseNreSplit } from "./chinese-nre.ts";
import type { LabelSet } from "./example.ts";
import { readJsonlSplit } from "./jsonl.ts";
import { chineseNreLabelSet, parseLabelsJson, parseRelation2id } from "./label-set.ts";
import type { OnBadRow, Split, SplitName } from "./split.ts";

/** A folder with train, valid and test examples and their labels. */
export interface Dataset {
  /** The name of the folder. */
  name: string;
  directory: string;
  format: DatasetFormat;
  labels: LabelSet;
  /** The splits that have a file, in the order train, valid, test. */
  splitNames: readonly SplitName[];
  /** Reads a split; throws a UserError when it is missing or empty and UserErrors for bad rows, unless they are skipped. */
  split(name: SplitName, options?: { onBadRow?: OnBadRow; maxRowBytes?: number }): Promise<Split>;
}

export type DatasetFormat = "chinese-nre" | "jsonl";

const SPLIT_NAMES: readonly SplitName[] = ["train", "valid", "test"];
const MAX_LABEL_FILE_BYTES = 4_000_000;
const FORMATS = {
  "chinese-nre": { extension: "txt", labelsFile: "relation2id.txt", readSplit: readChineseNreSplit },
  jsonl: { extension: "jsonl", labelsFile: "labels.json", readSplit: readJsonlSplit },
} as const;

/**
 * Opens a folder of examples: `train.txt, valid.txt, test.txt, relation2id.txt` or `train.jsonl, valid.jsonl, test.jsonl, labels.json`.
 * `labels` replaces the labels of the folder. Throws a UserError when the folder or its labels cannot be read.
 */
export async function openDataset(
  directory: string,
  options: { format?: DatasetFormat | "auto"; labels?: LabelSet } = {},
): Promise<Dataset> {
  const files = await filesIn(directory);
  const { format: wanted = "auto" } = options;
  const format = wanted === "auto" ? formatOf(directory, files) : wanted;
  const { extension, labelsFile, readSplit } = FORMATS[format];
  const labels = options.labels ?? (await readLabels(join(directory, labelsFile), format, files));
  return {
    name: basename(resolve(directory)),
    directory,
    format,
    labels,
    splitNames: SPLIT_NAMES.filter((name) => files.includes(`${name}.${extension}`)),
    async split(name, splitOptions = {}) {
      const file = `${name}.${extension}`;
      if (!files.includes(file)) {
        throw new UserError(`${directory}: has no ${name} split, expected ${file}; ${listed(files)}.`);
      }
      return readSplit(join(directory, file), labels, splitOptions);
    },
  };
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
      format === "jsonl"
        ? 'Write one: {"labels": ["A", "B", "none"], "noRelation": "none"}'
        : "One line a label: unknown 0";
    throw new UserError(`${file}: is missing; ${listed(files)}.`, { hint });
  }
  const text = await readTextFile(file, "the list of labels", MAX_LABEL_FILE_BYTES);
  if (text.trim() === "") throw new UserError(`${file}: is empty, expected the list of labels.`);
  return format === "jsonl" ? parseLabelsJson(text, file) : chineseNreLabelSet(parseRelation2id(text, file), file);
}

function listed(files: readonly string[]): string {
  if (files.length === 0) return "the folder is empty";
  const more = files.length > 20 ? ` and ${files.length - 20} more` : "";
  return `the files there are ${files.slice(0, 20).join(", ")}${more}`;
}
