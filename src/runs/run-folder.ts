import { existsSync } from "node:fs";
import { appendFile, open, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { fileSizeBytes, writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { modelFingerprint } from "../formats/fingerprint.ts";
import { fileSum } from "../formats/folder-sums.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { Checksums, TensorSource } from "../formats/tensor-source.ts";
import { readRecipe, recipeText } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";

const MAX_LOG_BYTES = 1_000_000_000;
/** The name that base/files.ts gives a file until it is complete. */
const LEFTOVER = /\.[0-9a-f]{8}\.part$/;

/** The files of a run. */
export interface RunFolder {
  directory: string;
  recipe: string;
  /** Fingerprint and checksums of the model that the run starts from, and of its tokenizer; missing for a model from nothing. */
  base: string;
  /** Weights, moments and progress of the last checkpoint. */
  state: string;
  /** Values of the trainable weights at the best validation. */
  best: string;
  /** One JSON line for each step and validation. */
  log: string;
  metrics: string;
  report: string;
  /** The trained model of a full fine-tuning, as a Hugging Face folder. */
  model: string;
  /** Exists once training has finished. */
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

/** Throws a UserError for a folder that is not empty. */
export async function expectFreeFolder(directory: string): Promise<void> {
  if (!existsSync(directory) || (await readdir(directory)).length === 0) return;
  throw new UserError(`${directory}: already holds a run.`, {
    hint: "Give another folder with --run DIR, or continue this run with --resume.",
  });
}

/**
 * Makes the folder of a new run with its resolved recipe and the fingerprint of the model that it starts from. Throws a UserError for a
 * folder that is not empty.
 */
export async function createRunFolder(directory: string, recipe: Recipe): Promise<RunFolder> {
  await expectFreeFolder(directory);
  const folder = runFolder(directory);
  const { path } = recipe.model;
  if (path) {
    const tokenizer = await fileSum(await findTokenizerFile(recipe.model.tokenizer ?? path));
    const base = { path, fingerprint: await modelFingerprint(path), tokenizer };
    await writeFileAtomic(folder.base, `${JSON.stringify(base)}\n`);
  }
  await writeFileAtomic(folder.recipe, recipeText(recipe));
  return folder;
}

/**
 * Whether the model at the recipe's path is the one that the run started from; null when that is unknown (a model from nothing, a run of an
 * older version, a path that does not exist).
 */
export async function hasSameBase(folder: RunFolder, recipe: Recipe): Promise<boolean | null> {
  const { path } = recipe.model;
  if (!path || !existsSync(path) || !existsSync(folder.base)) return null;
  const { fingerprint } = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  return fingerprint === (await modelFingerprint(path));
}

/**
 * Throws a UserError when the model at the recipe's path, or its tokenizer, is not the one that the run started from: the trained weights do
 * not fit it.
 */
export async function expectSameBase(folder: RunFolder, recipe: Recipe): Promise<void> {
  if ((await hasSameBase(folder, recipe)) !== false) return expectSameTokenizer(folder, recipe);
  throw new UserError(`${recipe.model.path}: is not the model that ${folder.directory} started from.`, {
    hint: putBack(folder),
  });
}

async function expectSameTokenizer(folder: RunFolder, { model }: Recipe): Promise<void> {
  const path = model.tokenizer ?? model.path;
  if (!path || !existsSync(path) || !existsSync(folder.base)) return;
  const { tokenizer } = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  const file = await findTokenizerFile(path);
  // Older versions noted none.
  if (tokenizer === undefined || tokenizer === (await fileSum(file))) return;
  throw new UserError(`${file}: is not the tokenizer that ${folder.directory} started from.`, {
    hint: `Put that tokenizer back, or write where it is now as model.tokenizer into ${folder.recipe}.`,
  });
}

const putBack = (folder: RunFolder) =>
  `Put that model back, or write where it is now as model.path into ${folder.recipe}.`;

/** Notes the checksums of the base model's weights, which are known once they are loaded. */
export async function saveBaseSums(folder: RunFolder, weights: Checksums): Promise<void> {
  if (!existsSync(folder.base)) return;
  const base = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  await writeFileAtomic(folder.base, `${JSON.stringify({ ...base, weights })}\n`);
}

/** Expects the weights of the base model to be those that the run started from: a tensor that is not is an error when it is read. */
export async function expectBaseSums(folder: RunFolder, source: TensorSource): Promise<void> {
  if (!existsSync(folder.base)) return;
  const { weights } = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  if (typeof weights === "object" && weights !== null) source.checks.expect(weights as Checksums, putBack(folder));
}

/** Locks the folder of a run against other processes; returns the function that unlocks it. Throws a UserError when it is locked. */
export function holdRun(folder: RunFolder): Promise<() => Promise<void>> {
  return holdLock(join(folder.directory, "run.lock"), folder.directory);
}

/** Removes the half-written files that a killed process left in the folder of a run. */
export async function removeLeftovers(folder: RunFolder): Promise<void> {
  for (const directory of [folder.directory, dirname(folder.state), folder.model]) {
    if (!existsSync(directory)) continue;
    const names = (await readdir(directory)).filter((name) => LEFTOVER.test(name));
    for (const name of names) await rm(join(directory, name), { force: true });
  }
}

/** Opens the folder of a fine-tuning run. Throws a UserError for a folder without a recipe. */
export async function openRunFolder(directory: string): Promise<{ folder: RunFolder; recipe: Recipe }> {
  const folder = runFolder(directory);
  if (!existsSync(folder.recipe)) {
    throw new UserError(`${directory}: is not a run folder (it has no recipe.yaml).`, {
      hint: "`cre train` makes run folders, for example runs/finre-small.",
    });
  }
  return { folder, recipe: await readRecipe(folder.recipe) };
}

/** Whether training has finished. A done.json that is not JSON was lost in a power failure: the end of the training is made again. */
export async function isFinished(folder: RunFolder): Promise<boolean> {
  if (!existsSync(folder.done)) return false;
  try {
    await readJsonObject(folder.done, "the end of a training");
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

export type LogLine = { kind: "step" | "validation"; step: number } & Record<string, unknown>;

/** Appends one line to the run's log. */
export async function appendLog(folder: RunFolder, line: LogLine): Promise<void> {
  await appendFile(folder.log, `${JSON.stringify(line)}\n`);
}

/** Flushes the log to disk. */
export async function syncLog(folder: RunFolder): Promise<void> {
  if (!existsSync(folder.log)) return;
  const handle = await open(folder.log, "r+");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/**
 * Reads the log without what a crash or a power loss left at its end: half a line, or NUL bytes. Throws a UserError for a line that is not
 * JSON with good lines after it.
 */
export async function readLog(folder: RunFolder): Promise<LogLine[]> {
  if (!existsSync(folder.log)) return [];
  if ((await fileSizeBytes(folder.log, "a training log")) > MAX_LOG_BYTES) {
    throw new UserError(`${folder.log}: is too long, expected a training log of at most ${MAX_LOG_BYTES} bytes.`);
  }
  const parsed = (await readFile(folder.log, "utf8"))
    .split("\n")
    .slice(0, -1)
    .map((line, i) => ({ number: i + 1, line, value: parseLine(line) }))
    .filter(({ line }) => line !== "");
  const good = parsed.slice(0, parsed.findLastIndex(({ value }) => value !== null) + 1);
  const bad = good.find(({ value }) => value === null);
  if (bad) throw new UserError(`${folder.log}, line ${bad.number}: is not JSON.`);
  return good.map(({ value }) => value as LogLine);
}

function parseLine(line: string): LogLine | null {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return null;
  }
}

/** Removes the log lines after a step, before training resumes from it. */
export async function truncateLog(folder: RunFolder, step: number): Promise<void> {
  if (!existsSync(folder.log)) return;
  const kept = (await readLog(folder)).filter((line) => line.step <= step);
  await writeFileAtomic(folder.log, kept.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
