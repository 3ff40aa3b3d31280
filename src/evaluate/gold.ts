import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readChineseNreSplit } from "../data/chinese-nre.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import { addBadRow, emptySplit, finishSplit, type SplitName } from "../data/split.ts";

/** Gold rows, equal inputs not merged yet; `labels` is undefined when a JSONL file has no label file next to it. */
export interface Gold {
  examples: Example[];
  labels: LabelSet | undefined;
}

/**
 * Reads the gold of `cre score --gold`: the `split` of a data folder, a split file in the format of thunlp/Chinese_NRE with
 * `relation2id.txt` next to it, or JSONL with `relations` on every line, with the labels of `labels.json` next to it, if there is one.
 * Throws a UserError for anything else and UserErrors for bad rows.
 */
export async function readGold(path: string, split: SplitName): Promise<Gold> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const dataset = await openDataset(path);
    return { examples: (await dataset.split(split, { equalRows: "keep" })).examples, labels: dataset.labels };
  }
  if (path.endsWith(".txt")) {
    const { labels } = await openDataset(dirname(path), { format: "chinese-nre" });
    return { examples: (await readChineseNreSplit(path, labels, { equalRows: "keep" })).examples, labels };
  }
  if (path.endsWith(".jsonl") || path.endsWith(".json")) return readGoldLines(path);
  throw new UserError(`${path}: expected a data folder, a .jsonl file or a .txt file as gold.`, {
    hint: 'JSONL lines are {"sentence", "head", "tail", "relations"}; .txt lines are head, tail, relation, sentence with TABs.',
  });
}

async function readGoldLines(file: string): Promise<Gold> {
  const folder = dirname(file);
  const hasLabels = existsSync(join(folder, "labels.json"));
  const labels = hasLabels ? (await openDataset(folder, { format: "jsonl" })).labels : undefined;
  const split = emptySplit();
  for await (const { line, example, problem } of readJsonl(file, { labels, requireRelations: true })) {
    split.counts.rows++;
    if (example === null) addBadRow(split, { file, line, problem });
    else split.examples.push(example);
  }
  return { examples: finishSplit(split, file, "stop").examples, labels };
}
