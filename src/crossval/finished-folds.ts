import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { hasFastBackend } from "../compute/open.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { isFinished, runFolder } from "../runs/run-folder.ts";
import { rowsDigest } from "../runs/saved-predictions.ts";
import { type FoldRows, readCandidates } from "./candidates.ts";
import { PLAN_FILE } from "./plan.ts";

/** The runs that a tuning trained on the folds of some rows by its best recipe. */
export interface FinishedFolds {
  /** Number of folds, and the seed of the division into them. */
  count: number;
  seed: number;
  /** Folders, each with the fold (from 0) that it did not see; all folds once for every seed of the training. */
  runs: { directory: string; fold: number }[];
}

/**
 * The finished runs of the best recipe in a folder of `cre tune`. Throws a UserError when the folder holds none, when one is missing, or when
 * the folds are of other rows.
 */
export async function finishedFolds(
  directory: string,
  rows: Pick<FoldRows, "labels" | "examples">,
): Promise<FinishedFolds> {
  const [plan, best] = [join(directory, PLAN_FILE), join(directory, "best.yaml")];
  if (!existsSync(plan) || !existsSync(best)) {
    throw new UserError(`${directory}: is not a finished tuning, expected ${PLAN_FILE} and best.yaml.`, {
      hint: "cre tune RECIPE --grid KEY=VALUES --run DIR trains a recipe on folds; repeat the command to finish it.",
    });
  }
  const { rows: digest, folds: count, foldSeed: seed } = await readJsonObject(plan, "the rows and folds of a tuning");
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(seed) || (count as number) < 2) {
    throw new UserError(`${plan}: has no number of folds and no seed, expected those of a tuning.`);
  }
  if (digest !== rowsDigest(rows.examples)) {
    throw new UserError(`${directory}: its folds are not of these training rows.`, {
      hint: "A fold run must not have seen the rows that it is asked: tune on the same data.",
    });
  }
  const [{ training }] = await readCandidates({ file: best, isFast: hasFastBackend() }, [], rows);
  const runs: FinishedFolds["runs"] = [];
  const seeds = new Map<string, number>();
  for (const name of (await readdir(join(directory, "folds"))).sort()) {
    const parts = /^(?<training>[0-9a-f]+)-seed(?<of>\d+)-fold(?<fold>\d+)$/.exec(name)?.groups;
    const run = join(directory, "folds", name);
    if (parts?.training !== training || !(await isFinished(runFolder(run)))) continue;
    seeds.set(parts.of, (seeds.get(parts.of) ?? 0) + 1);
    runs.push({ directory: run, fold: Number(parts.fold) - 1 });
  }
  const partial = [...seeds].find(([, found]) => found !== count);
  if (runs.length === 0 || partial) {
    const found = partial ? `${partial[1]} (seed ${partial[0]})` : "0";
    throw new UserError(
      `${directory}: has ${found} finished runs of its best recipe, expected one for each of ${count} folds.`,
    );
  }
  return { count: count as number, seed: seed as number, runs };
}
