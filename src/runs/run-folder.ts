import { existsSync } from "node:fs";
import { appendFile, open, readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { showValue, UserError } from "../base/errors.ts";
import { readLines, writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { checkOutputFolder, makeFolder, namingFile } from "../base/output.ts";
import { modelFingerprint } from "../formats/fingerprint.ts";
import { fileSum } from "../formats/folder-sums-write.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { Checksums, TensorSource } from "../formats/tensor-source.ts";
import { readRecipe, recipeText } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { BASE_FILE, expectBaseWeights } from "./base-weights.ts";

const MAX_LOG_LINE_BYTES = 10_000_000;
/** The name that base/files.ts gives a file until it is complete. */
export const LEFTOVER = /\.[0-9a-f]{8}\.part$/;

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
    base: join(directory, BASE_FILE),
    state: join(directory, "checkpoints", "state.safetensors"),
    best: join(directory, "checkpoints", "best.safetensors"),
    log: join(directory, "log.jsonl"),
    metrics: join(directory, "metrics.json"),
    report: join(directory, "report.html"),
    model: join(directory, "model"),
    done: join(directory, "done.json"),
  };
}

/** The lock of a run. */
export const LOCK = "run.lock";

/**
 * Checks that a new run can be made in a folder: it can be written, and has nothing in it but the lock of the run. Throws a UserError.
 */
export async function expectFreeFolder(directory: string): Promise<void> {
  await checkOutputFolder(directory);
  if (!existsSync(directory)) return;
  // Another process that asks for the lock has its request there for a moment.
  const isLock = (name: string) => name === LOCK || (name.startsWith(`${LOCK}.`) && LEFTOVER.test(name));
  const names = (await readdir(directory)).filter((name) => !isLock(name));
  if (names.includes(basename(runFolder(directory).recipe))) {
    throw new UserError(`${directory}: already holds a run.`, {
      hint: "Give another folder with --run DIR, or continue this run with --resume.",
    });
  }
  if (names.length > 0) {
    throw new UserError(
      `${directory}: is not empty (it has ${showValue(names[0])}), expected a new folder for the run.`,
      {
        hint: "Give another folder with --run DIR.",
      },
    );
  }
}

/**
 * Makes the folder of a new run with its resolved recipe and the fingerprint of the model that it starts from. Throws a UserError for a
 * folder that is not empty; leaves nothing behind when it cannot be written.
 */
export async function createRunFolder(directory: string, recipe: Recipe): Promise<RunFolder> {
  return createFolderOf(directory, recipe.model, recipeText(recipe));
}

/** The model that a run starts from, none for a model from nothing, and its tokenizer where that is elsewhere. */
export interface StartModel {
  path?: string;
  tokenizer?: string;
}

/** As {@link createRunFolder}, for a recipe as text. */
export async function createFolderOf(
  directory: string,
  { path, tokenizer: own }: StartModel,
  text: string,
): Promise<RunFolder> {
  await expectFreeFolder(directory);
  const folder = runFolder(directory);
  const fingerprint = path ? await modelFingerprint(path) : null;
  const tokenizer = path ? await fileSum(await findTokenizerFile(own ?? path)) : null;
  try {
    if (path) await writeFileAtomic(folder.base, `${JSON.stringify({ path, fingerprint, tokenizer })}\n`);
    await writeFileAtomic(folder.recipe, text);
  } catch (error) {
    await rm(folder.base, { force: true });
    throw error;
  }
  return folder;
}

/**
 * Whether the model at the recipe's path is the one that the run started from; null when that is unknown (a model from nothing, a run of an
 * older version, a path that does not exist).
 */
export async function hasSameBase(folder: RunFolder, { model }: { model: StartModel }): Promise<boolean | null> {
  const { path } = model;
  if (!path || !existsSync(path) || !existsSync(folder.base)) return null;
  const { fingerprint } = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  return fingerprint === (await modelFingerprint(path));
}

/**
 * Throws a UserError when the model at the recipe's path, or its tokenizer, is not the one that the run started from: the trained weights do
 * not fit it. `key` of the recipe names the model.
 */
export async function expectSameBase(
  folder: RunFolder,
  recipe: { model: StartModel },
  key = "model.path",
): Promise<void> {
  if ((await hasSameBase(folder, recipe)) !== false) return expectSameTokenizer(folder, recipe.model);
  throw new UserError(`${recipe.model.path}: is not the model that ${folder.directory} started from.`, {
    hint: putBack(folder, key),
  });
}

async function expectSameTokenizer(folder: RunFolder, model: StartModel): Promise<void> {
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

const putBack = (folder: RunFolder, key = "model.path") =>
  `Put that model back, or write where it is now as ${key} into ${folder.recipe}.`;

/** Notes the checksums of the base model's weights, which are known once they are loaded. */
export async function saveBaseSums(folder: RunFolder, weights: Checksums): Promise<void> {
  if (!existsSync(folder.base)) return;
  const base = await readJsonObject(folder.base, "the fingerprint of a run's base model");
  await writeFileAtomic(folder.base, `${JSON.stringify({ ...base, weights })}\n`);
}

/** As {@link expectBaseWeights}, for the run of a folder. */
export const expectBaseSums = (folder: RunFolder, source: TensorSource): Promise<void> =>
  expectBaseWeights(nodeFolder(folder.directory), source, putBack(folder));

/**
 * Locks the folder of a run against other processes, which makes a folder that does not exist; returns the function that unlocks it. Throws a
 * UserError when it is locked.
 */
export async function holdRun(folder: RunFolder): Promise<() => Promise<void>> {
  await makeFolder(folder.directory);
  return holdLock(join(folder.directory, LOCK), folder.directory);
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

export type LogLine = { kind: "step" | "validation" | "negatives"; step: number } & Record<string, unknown>;

/** Appends one line to the run's log. */
export async function appendLog(folder: RunFolder, line: LogLine): Promise<void> {
  await namingFile(folder.log, () => appendFile(folder.log, `${JSON.stringify(line)}\n`));
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

/** Reads the log, without the end that a crash or a power loss spoilt: half a line, or bytes that are not text. */
export async function readLog(folder: RunFolder): Promise<LogLine[]> {
  if (!existsSync(folder.log)) return [];
  const lines: LogLine[] = [];
  let spoilt: number | null = null;
  for await (const { number, text } of readLines(folder.log, { maxLineBytes: MAX_LOG_LINE_BYTES })) {
    if (text === "") continue;
    const line = parsedLine(text);
    if (line === null) spoilt ??= number;
    else if (spoilt !== null) throw new UserError(`${folder.log}, line ${spoilt}: is not JSON.`);
    else lines.push(line);
  }
  return lines;
}

function parsedLine(text: string | null): LogLine | null {
  try {
    const line = JSON.parse(text ?? "");
    return typeof line === "object" && line !== null ? line : null;
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
