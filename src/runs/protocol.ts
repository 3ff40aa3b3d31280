import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserErrors } from "../base/errors.ts";
import { expectFreeFolder, holdRun, isFinished, LOCK, type RunFolder, runFolder } from "./run-folder.ts";
import { type StopOptions, type StopSignal, watchForStop } from "./stop-signals.ts";

/** What differs between fine-tuning and pretraining before the first step; R is the type of the recipe. */
export interface RunKind<R> {
  /** Makes the folder of a new run with its recipe. */
  create(directory: string, recipe: R): Promise<RunFolder>;
  /** Opens the folder of a run that was begun, with overrides ("train.steps=200") of its recipe. */
  open(directory: string, overrides: readonly string[]): Promise<{ folder: RunFolder; recipe: R }>;
  /** The paths in a recipe that do not exist, one problem each. */
  missingPaths(recipe: R): string[];
  /** Next step for missing paths. */
  hint?: string;
  /** Throws a UserError when the model that the run started from was replaced by another one. */
  expectSameBase(folder: RunFolder, recipe: R): Promise<void>;
}

/** A run that can be trained: new, or begun and not finished. */
export interface TrainableRun<R> {
  kind: RunKind<R>;
  folder: RunFolder;
  recipe: R;
  isNew: boolean;
}

/**
 * Checks a new run before anything is read or written: its folder is free, the paths in its recipe exist. `where` names the recipe in a
 * message. Throws a UserError.
 */
export async function newRun<R>(
  kind: RunKind<R>,
  directory: string,
  recipe: R,
  where: string,
): Promise<TrainableRun<R>> {
  expectPaths(kind, recipe, `${where}: cannot start:`);
  await expectFreeFolder(directory);
  return { kind, folder: runFolder(directory), recipe, isNew: true };
}

/**
 * Checks a run that was begun before anything is read: its folder has a recipe, the paths in it exist, the base model is still the one the
 * run started from. Returns null when training has finished. Throws a UserError.
 */
export async function begunRun<R>(
  kind: RunKind<R>,
  directory: string,
  overrides: readonly string[] = [],
): Promise<TrainableRun<R> | null> {
  const { folder, recipe } = await kind.open(directory, overrides);
  if (await isFinished(folder)) {
    await releaseFinished(folder);
    return null;
  }
  expectPaths(kind, recipe, `${folder.recipe}: cannot resume:`);
  await kind.expectSameBase(folder, recipe);
  return { kind, folder, recipe, isNew: false };
}

/** Removes the lock of a process that was killed after its last file; one that is just ending keeps its own. */
async function releaseFinished(folder: RunFolder): Promise<void> {
  if (!existsSync(join(folder.directory, LOCK))) return;
  // A lock that cannot be taken away, on a disk that is read only, hinders nobody from using the run.
  const release = await holdRun(folder).catch(() => null);
  await release?.();
}

/** Throws a UserErrors that lists the missing paths of a recipe. */
export function expectPaths<R>(kind: RunKind<R>, recipe: R, title: string): void {
  const missing = kind.missingPaths(recipe);
  if (missing.length > 0) throw new UserErrors(title, missing, { hint: kind.hint });
}

/** A run while this process works in it. */
export interface WorkInRun<R> {
  /** Aborts when the run should stop. */
  signal: AbortSignal;
  /**
   * Makes the folder of a new run with its resolved recipe, and locks it. Called as late as possible, so that a mistake in recipe, data or
   * model leaves no folder behind. Does nothing for a run that was begun: that one is locked from the start.
   */
  begin(recipe: R): Promise<void>;
}

/** Where a run stopped before its end, and the process signal that stopped it, if one did. */
export interface Stop {
  step: number;
  signal: StopSignal | null;
}

/**
 * Runs `work` with the folder of a run locked and requests to stop heard; releases both at the end, however it ends. `work` returns the step
 * at which it stopped, null when it finished. Throws a UserError when another process works in the run.
 */
export async function workInRun<R>(
  run: TrainableRun<R>,
  options: StopOptions,
  work: (inside: WorkInRun<R>) => Promise<number | null>,
): Promise<Stop | null> {
  let release = run.isNew ? null : await holdRun(run.folder);
  const stop = watchForStop(options);
  try {
    const step = await work({
      signal: stop.signal,
      async begin(recipe) {
        if (release) return;
        // Checked first, so that the lock makes no folder in vain; checked again with the lock held, when nobody else can make the run.
        await expectFreeFolder(run.folder.directory);
        release = await holdRun(run.folder);
        await run.kind.create(run.folder.directory, recipe);
      },
    });
    return step === null ? null : { step, signal: stop.by };
  } finally {
    stop.close();
    await release?.();
  }
}
