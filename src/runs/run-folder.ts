import { existsSync } from "node:fs";
import { appendFile, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { modelFingerprint } from "../formats/fingerprint.ts";
import { readJsonObject } from "../formats/hf-folder.ts";
import { readRecipe, recipeText } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";

const MAX_LOG_BYTES = 1_000_000_000;
/** How base/files.ts names a file until it is whole. */
const LEFTOVER = /\.[0-9a-f]{8}\.part$/;

/** The files of a run. */
export interface RunFolder {
  directory: string;
  recipe: string;
  /** Fingerprint of the model that the run starts from; missing for a model from nothing. */
  base: string;
  /** Weights, moments and progress of the last checkpoint. */
  state: string;
  /** Values of the trainable weights at the best validation. */
  best: string;
  /** One JSON line a step or validation. */
  log: string;
  metrics: string;
  report: string;
  /** The trained model of a full fine-tuning, as a Hugging Face folder. */
  model: string;
  /** What says that training has ended. */
  done: string;
}

export function runFolder(directory: string): RunFolder {
  return {
    directory,
    recipe: join(directory, "recipe.yaml"),
    base: join(directory, "base.json"),
    state: join(directory, "checkpoints", "state.safetensors"),
    best: join(directory, "checkpoints", "best.safetensors"),
    log: join(directory, "log.jsonl"),
    metrics: join(directory, "metrics.json"),
    report: join(directory, "report.html"),
    model: join(directory, "model"),
    done: join(directory, "done.json"),
  };
}

/** Refuses a folder that already holds something. */
export async function expectFreeFolder(directory: string): Promise<void> {
  if (!existsSync(directory) || (await readdir(directory)).length === 0) return;
  throw new UserError(`${directory}: already holds a run.`, {
    hint: "Give another folder with --run DIR, or go on with this one by --resume.",
  });
}

/**
 * Makes the folder of a new run: its resolved recipe and the fingerprint of the model that it starts from. Refuses a folder that already
 * holds something.
 */
export async function createRunFolder(directory: string, recipe: Recipe): Promise<RunFolder> {
  await expectFreeFolder(directory);
  const folder = runFolder(directory);
  const { path } = recipe.model;
  if (path) {
    const base = { path, fingerprint: await modelFingerprint(path) };
    await writeFileAtomic(folder.base, `${JSON.stringify(base)}\n`);
  }
  await writeFileAtomic(folder.recipe, recipeText(recipe));
  return folder;
}

/**
 * Whether the model at the place that the recipe names is the one the run started from; null where nobody knows (a model from nothing, a run
 * of an older version, a model that is not there).
 */
export async function hasSameBase(folder: RunFolder, recipe: Recipe): Promise<boolean | null> {
  const { path } = recipe.model;
  if (!path || !existsSync(path) || !existsSync(folder.base)) return null;
  const { fingerprint } = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  return fingerprint === (await modelFingerprint(path));
}

/** Throws a UserError when the model that a run started from is known to be another one now: what was trained does not belong to it. */
export async function expectSameBase(folder: RunFolder, recipe: Recipe): Promise<void> {
  if ((await hasSameBase(folder, recipe)) !== false) return;
  throw new UserError(`${recipe.model.path}: is not the model that ${folder.directory} started from.`, {
    hint: `Put that model back, or write where it is now as model.path into ${folder.recipe}.`,
  });
}

/** Keeps other processes from training into a run's folder until the function that it returns is called. Throws a UserError when one does. */
export function holdRun(folder: RunFolder): Promise<() => Promise<void>> {
  return holdLock(join(folder.directory, "run.lock"), folder.directory);
}

/** Removes what a killed process had half written beside the files of a run. */
export async function removeLeftovers(folder: RunFolder): Promise<void> {
  for (const directory of [folder.directory, dirname(folder.state), folder.model]) {
    if (!existsSync(directory)) continue;
    const names = (await readdir(directory)).filter((name) => LEFTOVER.test(name));
    for (const name of names) await rm(join(directory, name), { force: true });
  }
}

/** Opens the folder of a run that was begun. */
export async function openRunFolder(directory: string): Promise<{ folder: RunFolder; recipe: Recipe }> {
  const folder = runFolder(directory);
  if (!existsSync(folder.recipe)) {
    throw new UserError(`${directory}: is not a run folder (it has no recipe.yaml).`, {
      hint: "A run folder is what `cre train` makes, for example runs/finre-small.",
    });
  }
  return { folder, recipe: await readRecipe(folder.recipe) };
}

export type LogLine = { kind: "step" | "validation"; step: number } & Record<string, unknown>;

/** Appends one line to the run's log. */
export async function appendLog(folder: RunFolder, line: LogLine): Promise<void> {
  await appendFile(folder.log, `${JSON.stringify(line)}\n`);
}

/** The log's lines; a last line that was cut by a crash is left out. */
export async function readLog(folder: RunFolder): Promise<LogLine[]> {
  if (!existsSync(folder.log)) return [];
  const text = await readTextFile(folder.log, "a training log", MAX_LOG_BYTES);
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter(Boolean).map((line, i) => {
    try {
      return JSON.parse(line) as LogLine;
    } catch {
      throw new UserError(`${folder.log}, line ${i + 1}: is not JSON.`);
    }
  });
}

/** Drops what was logged after a step, before training goes on from there. */
export async function truncateLog(folder: RunFolder, step: number): Promise<void> {
  if (!existsSync(folder.log)) return;
  const kept = (await readLog(folder)).filter((line) => line.step <= step);
  await writeFileAtomic(folder.log, kept.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
