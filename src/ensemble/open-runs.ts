import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { UserError } from "../base/errors.ts";
import { ensembleExtractor } from "../extract/ensemble.ts";
import type { Extractor, ExtractorSettings } from "../extract/extractor.ts";
import { PEFT_WEIGHTS } from "../formats/peft-folder.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { RunSource } from "../runs/given-adapter.ts";
import { type OpenOptions, readRunLabels } from "../runs/open.ts";
import { openRun, type Run } from "../runs/run.ts";
import { openRunFolder } from "../runs/run-folder.ts";
import { expectSameLabels, type OwnedLabels } from "../runs/same-labels.ts";
import { createSharedBases } from "../runs/shared-bases.ts";

/** One run, or several whose label distributions are averaged. */
export interface OpenedRuns {
  runs: readonly Run[];
  extractor: Extractor;
  /** Base models in memory that several adapters share; 0 for a single run. */
  sharedBases: number;
  close(): Promise<void>;
}

/**
 * Opens runs to answer together. A base model that several of them have is read once. Throws a UserError for runs that have not finished,
 * whose labels differ, or that generate text.
 */
export async function openRuns(directories: readonly string[], options: OpenOptions = {}): Promise<OpenedRuns> {
  if (directories.length === 1) return openOne(directories[0], options);
  await expectEnsemble(directories, options);
  const bases = createSharedBases();
  const runs: Run[] = [];
  const close = async () => {
    for (const run of runs) await run.close();
    await bases.close();
  };
  try {
    for (const directory of directories) {
      const onNotice = (line: string) => options.onNotice?.(`${directory}: ${line}`);
      runs.push(await openRun(directory, { ...options, onNotice, bases }));
    }
  } catch (error) {
    await close();
    throw error;
  }
  const notice = furtherRelationsNotice(runs);
  if (notice !== null) options.onNotice?.(notice);
  return { runs, extractor: ensembleExtractor(runs.map(({ extractor }) => extractor)), sharedBases: bases.size, close };
}

/** One run, or an adapter that another program made. */
export async function openOne(source: RunSource, options: OpenOptions): Promise<OpenedRuns> {
  const run = await openRun(source, options);
  return { runs: [run], extractor: run.extractor, sharedBases: 0, close: () => run.close() };
}

/** Throws a UserError for runs that cannot answer together, before any weight is read. */
export async function expectEnsemble(
  directories: readonly string[],
  { decode = {} }: Pick<OpenOptions, "decode">,
): Promise<OwnedLabels[]> {
  const owned: OwnedLabels[] = [];
  for (const directory of directories) {
    const { folder, recipe } = await openRunFolder(directory);
    const { method } = { ...recipe.decode, ...decode };
    if (method === "generate") {
      throw new UserError(`${directory}: generates text, expected label probabilities from every run.`, {
        hint: "Runs that answer together choose among labels: --method labels",
      });
    }
    owned.push({ directory, labels: await readRunLabels(folder) });
  }
  for (const other of owned.slice(1)) {
    expectSameLabels(owned[0], other, "Only runs with the same labels can answer together.");
  }
  return owned;
}

/** A line on runs that give further relations by different values; null where they agree. */
export function furtherRelationsNotice(runs: readonly Pick<Run, "folder" | "extractor">[]): string | null {
  const values = runs.map(({ extractor }) => extractor.settings.furtherRelations);
  if (new Set(values).size === 1) return null;
  return `decode.furtherRelations differs between the runs (${values.join(", ")}): that of ${runs[0].folder.directory} is used.`;
}

/** All that decides the answers of a run, as far as its folder tells. */
export interface RunIdentity {
  recipe: Recipe;
  settings: ExtractorSettings;
  directory: string;
  trainedAt: number | null;
}

/** The identity of each run. */
export async function identityOf({ runs }: Pick<OpenedRuns, "runs">): Promise<RunIdentity[]> {
  const identities: RunIdentity[] = [];
  for (const { recipe, extractor, folder, given } of runs) {
    const files = given ? PEFT_WEIGHTS.map((name) => join(folder.directory, name)) : [folder.done];
    const file = files.find((one) => existsSync(one));
    const trainedAt = file === undefined ? null : (await stat(file)).mtimeMs;
    identities.push({ recipe, settings: extractor.settings, directory: resolve(folder.directory), trainedAt });
  }
  return identities;
}
