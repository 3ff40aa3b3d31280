import type { SplitName } from "./split.ts";

export const SPLIT_NAMES: readonly SplitName[] = ["train", "valid", "test"];

/** Names under which data sets of other projects keep a split. */
const OTHER_NAMES: Record<SplitName, readonly string[]> = {
  train: ["train", "training", "trn"],
  valid: ["valid", "validation", "val", "dev", "develop", "development", "eval"],
  test: ["test", "testing", "tst"],
};

/** Whether a name without its ending, like "finre_train" or "train-v2", names a split. */
export function namesSplit(name: string, split: SplitName): boolean {
  const parts = name.toLowerCase().split(/[-_ ]/);
  return OTHER_NAMES[split].some((other) => parts.includes(other));
}

/** The split that a name without its ending names; null for none. */
export function splitOfName(name: string): SplitName | null {
  return SPLIT_NAMES.find((split) => namesSplit(name, split)) ?? null;
}
