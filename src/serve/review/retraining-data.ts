import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { UserError } from "../../base/errors.ts";
import { writeFileAtomic } from "../../base/files.ts";
import { openDataset } from "../../data/dataset.ts";
import type { Example } from "../../data/example.ts";
import { labelSetToJson } from "../../data/label-set.ts";
import { inputKey } from "../../data/split.ts";
import { recipeText } from "../../recipe/read.ts";
import type { Run } from "../../runs/run.ts";
import type { ReviewedRow } from "./labelled-set.ts";

/** What became of the judged rows. */
export interface RetrainingCounts {
  train: number;
  /** Judged rows that are learned from. */
  added: number;
  /** Training rows with the same pair, whose labels a judged row replaces. */
  replaced: number;
  /** Judged rows of the validation and test splits: learning from them would spoil the comparison. */
  heldOut: number;
}

/**
 * Writes the data folder and the recipe of a retraining: the training rows of a run with the judged rows, and its validation and test rows as
 * they are. Throws a UserError for a run whose data cannot be read.
 */
export async function writeRetraining(
  folder: string,
  { recipe, labels, folder: from }: Pick<Run, "recipe" | "labels" | "folder">,
  reviewed: readonly ReviewedRow[],
  epochs: number | undefined,
): Promise<{ recipeFile: string; counts: RetrainingCounts; epochs: number }> {
  const { path, format, normalize } = recipe.data;
  if (path === undefined) {
    throw new UserError(`The run ${from.directory.split(/[/\\]/).at(-1)} does not know where its data is.`, {
      hint: "Retrain a run that was trained on a data folder.",
    });
  }
  const dataset = await openDataset(path, { format, labels, normalize });
  const data = join(folder, "data");
  await mkdir(data, { recursive: true });
  const read = async (split: "train" | "valid" | "test") =>
    dataset.splitNames.includes(split) ? (await dataset.split(split, { onBadRow: recipe.data.badRows })).examples : [];
  const held = new Set<string>();
  for (const split of ["valid", "test"] as const) {
    const examples = await read(split);
    for (const example of examples) held.add(inputKey(example));
    if (examples.length > 0) await writeFileAtomic(join(data, `${split}.jsonl`), rowLines(examples));
  }
  const own = reviewed.map(
    ({ sentence, head, tail, headSpan, tailSpan, relations }): Example => ({
      ...{ sentence, head, tail, relations },
      ...(headSpan ? { headSpan } : {}),
      ...(tailSpan ? { tailSpan } : {}),
    }),
  );
  const added = own.filter((example) => !held.has(inputKey(example)));
  const keys = new Set(added.map(inputKey));
  const train = await read("train");
  const kept = train.filter((example) => !keys.has(inputKey(example)));
  const rows = [...kept, ...added];
  await writeFileAtomic(join(data, "train.jsonl"), rowLines(rows));
  await writeFileAtomic(join(data, "labels.json"), `${JSON.stringify(labelSetToJson(labels), null, 2)}\n`);
  const { model, train: settings } = recipe;
  const recipeFile = join(folder, "recipe.yaml");
  const changed = {
    ...recipe,
    model: {
      ...model,
      ...(model.path ? { path: resolve(model.path) } : {}),
      ...(model.tokenizer ? { tokenizer: resolve(model.tokenizer) } : {}),
    },
    data: { ...recipe.data, path: resolve(data), format: "jsonl" as const },
    train: { ...settings, ...(epochs === undefined ? {} : { epochs }) },
  };
  await writeFileAtomic(recipeFile, recipeText(changed));
  const counts = {
    train: rows.length,
    added: added.length,
    replaced: train.length - kept.length,
    heldOut: own.length - added.length,
  };
  return { recipeFile, counts, epochs: changed.train.epochs };
}

const rowLines = (examples: readonly Example[]) =>
  examples
    .map(({ id, sentence, head, tail, headSpan, tailSpan, relations }) => {
      const row = { ...(typeof id === "bigint" ? {} : { id }), sentence, head, tail, headSpan, tailSpan, relations };
      return `${JSON.stringify(row)}\n`;
    })
    .join("");
