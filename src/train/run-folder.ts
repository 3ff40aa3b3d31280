import { existsSync } from "node:fs";
import { appendFile, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { type Recipe, readRecipe, recipeText } from "./recipe.ts";

const MAX_LOG_BYTES = 1_000_000_000;
/** How base/files.ts names a file until it is whole. */
const LEFTOVER = /\.[0-9a-f]{8}\.part$/;

/** The files of a run. */
export interface RunFolder {
  directory: string;
  recipe: string;
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

/** Makes the folder of a new run and writes its resolved recipe; refuses a folder that already holds something. */
export async function createRunFolder(directory: string, recipe: Recipe): Promise<RunFolder> {
  await expectFreeFolder(directory);
  const folder = runFolder(directory);
  await writeFileAtomic(folder.recipe, recipeText(recipe));
  return folder;
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
