import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { checkOutputFolder } from "../base/output.ts";
import { hasFastBackend } from "../compute/open.ts";
import { type Fold, foldsBySentence } from "../data/folds.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { type RecipeSource, readRecipeParts } from "../recipe/read.ts";
import type { DataEvent } from "../runs/labelled-rows.ts";
import { rowsDigest } from "../runs/saved-predictions.ts";
import { type Candidate, type FoldRows, readCandidates, readFoldRows } from "./candidates.ts";
import { type FoldRun, withSeed } from "./fold-run.ts";
import type { GridAxis } from "./grid.ts";

/** Trainings of recipes on folds of the training rows of one data folder. */
export interface FoldPlan {
  /** The folder of the work: `folds/` in it has a run folder for each training. */
  directory: string;
  candidates: Candidate[];
  rows: FoldRows;
  folds: Fold[];
  /** Seed of the division into folds. */
  foldSeed: number;
  notices: readonly string[];
}

export interface FoldPlanSettings {
  directory: string;
  source: RecipeSource;
  axes: readonly GridAxis[];
  folds: number;
  foldSeed: number;
  /** Rows in the place of the data folder's. */
  rows?: FoldRows;
  /** Files that the caller writes into the folder: it may hold them before it holds a plan. */
  ownFiles?: readonly string[];
  onData: (event: DataEvent) => void;
}

/** The file that says what rows and folds the work in a folder is about. */
export const PLAN_FILE = "folds.json";
const LOCK_FILE = "folds.lock";

export const lockFile = (directory: string): string => join(directory, LOCK_FILE);

/**
 * Reads rows and recipes, divides the rows, and checks that the folder is free or holds the same work. Nothing is written. Throws a UserError
 * for every mistake in them.
 */
export async function planFolds(settings: FoldPlanSettings): Promise<FoldPlan> {
  const { directory, axes, foldSeed, ownFiles = [] } = settings;
  const source = { isFast: hasFastBackend(), ...settings.source };
  const read = async () => readFoldRows(await readRecipeParts(source), settings.onData);
  const { notices, ...rows } = settings.rows ? { ...settings.rows, notices: [] } : await read();
  const candidates = await readCandidates(source, axes, rows);
  const folds = foldsBySentence(rows.examples, settings.folds, foldSeed);
  const plan = { directory, candidates, rows, folds, foldSeed, notices };
  await expectOwnFolder(plan, ownFiles);
  return plan;
}

/** What must be the same when work is continued. */
function contentOf({ rows, folds, foldSeed }: FoldPlan): Record<string, unknown> {
  return { rows: rowsDigest(rows.examples), folds: folds.length, foldSeed };
}

async function expectOwnFolder(plan: FoldPlan, ownFiles: readonly string[]): Promise<void> {
  const { directory } = plan;
  await checkOutputFolder(directory);
  if (!existsSync(directory)) return;
  const file = join(directory, PLAN_FILE);
  if (!existsSync(file)) {
    const [foreign] = (await readdir(directory)).filter((name) => name !== LOCK_FILE && !ownFiles.includes(name));
    if (foreign === undefined) return;
    throw new UserError(
      `${directory}: has ${foreign} and no ${PLAN_FILE}, expected a new folder or one of this work.`,
      {
        hint: "Give another folder.",
      },
    );
  }
  const found = await readJsonObject(file, "the rows and folds of a cross-validation");
  const wanted = contentOf(plan);
  const names = { rows: "training rows", folds: "number of folds", foldSeed: "seed of the folds" };
  for (const [key, name] of Object.entries(names)) {
    if (found[key] === wanted[key]) continue;
    const values = key === "rows" ? "" : ` (${String(found[key])}, now ${String(wanted[key])})`;
    throw new UserError(
      `${directory}: was begun with another ${name}${values}.`.replace("another training", "other training"),
      {
        hint: "Give another folder, or the values that it was begun with.",
      },
    );
  }
}

/** Notes what the work in the folder is about. */
export async function savePlan(plan: FoldPlan): Promise<void> {
  await writeFileAtomic(join(plan.directory, PLAN_FILE), `${JSON.stringify(contentOf(plan))}\n`);
}

/** The training of a candidate on all folds but one (counted from 0). Candidates that are trained alike have the same folder. */
export function foldRun(
  { directory, rows, folds }: FoldPlan,
  candidate: Candidate,
  seed: number,
  fold: number,
): FoldRun {
  const pick = (places: readonly number[]) => places.map((place) => rows.examples[place]);
  return {
    directory: join(directory, "folds", `${candidate.training}-seed${seed}-fold${fold + 1}`),
    reading: withSeed(candidate.reading, seed),
    labels: rows.labels,
    train: pick(folds[fold].train),
    held: pick(folds[fold].held),
  };
}
