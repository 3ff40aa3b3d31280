import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { copyFileAtomic, readLines, writeAtomic } from "../base/files.ts";
import { isSamePath, makeFolder } from "../base/output.ts";
import { readChineseNre } from "./chinese-nre.ts";
import { type Dataset, splitFile } from "./dataset.ts";
import type { Example } from "./example.ts";
import { readJsonl } from "./jsonl.ts";
import { mentionsFileName } from "./mentions-file.ts";
import type { Normalization } from "./normalize.ts";
import { inputKey, MAX_ROW_BYTES } from "./split.ts";
import { SPLIT_NAMES } from "./split-names.ts";

/** What a copy of a data folder left out. */
export interface LeftOut {
  /** Lines of the split, blank ones not counted. */
  lines: number;
  /** Lines whose example was left out; equal inputs may be several lines. */
  leftOut: number;
  /** Lines that are not valid UTF-8 or too long: they cannot be copied. */
  unreadable: number;
}

/**
 * Copies a data folder without some examples of one split. The lines that stay are copied as they are, unknown fields and bad rows included;
 * the other splits, the labels and a licence file are copied whole. `normalize` is what the examples were read with. Throws a UserError for a
 * folder that is not empty, and when no row would be left.
 */
export async function copyWithoutRows(
  dataset: Dataset,
  split: Dataset["splitNames"][number],
  leftOut: readonly Example[],
  output: string,
  normalize?: Normalization,
): Promise<LeftOut> {
  if (await isSamePath(dataset.directory, output)) {
    throw new UserError(`${output}: is the data folder itself, expected another one.`);
  }
  if (dataset.format !== "jsonl" && dataset.format !== "chinese-nre") {
    throw new UserError(
      `${dataset.directory}: is ${dataset.format}, expected jsonl or chinese-nre to copy it without rows.`,
      {
        hint: `Convert it first: cre data convert ${dataset.directory} --from ${dataset.format} --output DIR`,
      },
    );
  }
  await expectEmptyFolder(output);
  const file = splitFile(dataset, split);
  const keys = new Set(leftOut.map(inputKey));
  const from = join(dataset.directory, file);
  const lines = new Set<number>();
  const read =
    dataset.format === "jsonl"
      ? readJsonl(from, { labels: dataset.labels, normalize })
      : readChineseNre(from, dataset.labels, { normalize });
  let kept = 0;
  for await (const { line, example } of read) {
    if (example === null) continue;
    if (keys.has(inputKey(example))) lines.add(line);
    else kept++;
  }
  if (kept === 0) throw new UserError(`${from}: no row would be left.`, { hint: "Drop a smaller share." });
  await makeFolder(output);
  const counts: LeftOut = { lines: 0, leftOut: lines.size, unreadable: 0 };
  await writeAtomic(join(output, file), async (handle) => {
    for await (const { number, text } of readLines(from, { maxLineBytes: MAX_ROW_BYTES })) {
      if (text === null || text.trim() !== "") counts.lines++;
      if (text === null) counts.unreadable++;
      else if (!lines.has(number)) await handle.writeFile(`${text}\n`);
    }
  });
  for (const name of await readdir(dataset.directory)) {
    const isSplit = dataset.splitNames.some((other) => other !== split && splitFile(dataset, other) === name);
    const isOther = name === "labels.json" || name === "relation2id.txt" || /^(licen[cs]e|notice)(\.|$)/i.test(name);
    const isMentions = SPLIT_NAMES.some((other) => mentionsFileName(other) === name);
    if (isSplit || isMentions || isOther) await copyFileAtomic(join(dataset.directory, name), join(output, name));
  }
  return counts;
}

/** Throws a UserError for a folder that has something in it. */
export async function expectEmptyFolder(directory: string): Promise<void> {
  const [name] = await readdir(directory).catch(() => []);
  if (name !== undefined) throw new UserError(`${directory}: is not empty (it has ${name}), expected a new folder.`);
}
