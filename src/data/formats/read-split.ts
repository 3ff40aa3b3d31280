import type { LabelSet } from "../example.ts";
import { quoted } from "../example.ts";
import { createLabelSet } from "../label-set.ts";
import { noRelationLookalike } from "../no-relation.ts";
import type { Split, SplitOptions } from "../split.ts";
import { LABELLED_FORMATS, type PairFormatName } from "./registry.ts";
import { rowSplit } from "./row-split.ts";

/**
 * Reads a split of a format whose rows are pairs; see {@link rowSplit} for rows with equal input. Throws UserErrors for bad rows (unless
 * skipped) and for a file without rows.
 */
export async function readPairSplit(
  format: PairFormatName,
  file: string,
  labels: LabelSet,
  options: SplitOptions = {},
): Promise<Split> {
  const split = rowSplit(file, labels, options);
  for await (const { line, pairs, problems } of LABELLED_FORMATS[format].read(file)) {
    split.add(line, pairs[0] ?? problems[0] ?? "got no pair");
  }
  return split.finish();
}

/**
 * The labels of files without a labels.json, in their order, with the one that means no relation by its name, and a notice that says so. Bad
 * rows have no labels. Throws UserErrors for labels that cannot be used.
 */
export async function findPairLabels(
  format: PairFormatName,
  files: readonly string[],
  where: string,
): Promise<{ labels: LabelSet; notice: string }> {
  const found = new Set<string>();
  for (const file of files) {
    for await (const { pairs } of LABELLED_FORMATS[format].read(file)) {
      for (const { relations = [] } of pairs) for (const label of relations) found.add(label);
    }
  }
  const noRelation = noRelationLookalike(found);
  const labels = createLabelSet({ labels: [...found], noRelation }, `${where}: the labels of its rows`);
  const none = noRelation === null ? "none of them means no relation" : `${quoted(noRelation)} means no relation`;
  const notice = `${where}: has no labels.json; its rows have ${found.size} labels, ${none}, and no inverse labels are known.`;
  return { labels, notice };
}
