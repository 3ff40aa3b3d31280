import { statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import { holdLock } from "../base/lock.ts";
import { checkOutputFolder, makeFolder } from "../base/output.ts";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import { hasFastBackend } from "../compute/open.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { copyWithoutRows, expectEmptyFolder, type LeftOut } from "../data/without-rows.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import { type RecipeSource, readRecipeParts } from "../recipe/read.ts";
import type { DataEvent } from "../runs/labelled-rows.ts";
import { type StopOptions, type StopSignal, watchForStop } from "../runs/stop-signals.ts";
import { renderAuditPage } from "./audit-page.ts";
import { readFoldRows } from "./candidates.ts";
import { type Audit, type DoubtedRow, doubtedPairs, plantWrongLabels, precisionAtK, rankByDoubt } from "./doubt.ts";
import { FoldsStopped } from "./fold-run.ts";
import {
  type HeldEvent,
  type HeldProbabilities,
  linearHeldProbabilities,
  modelHeldProbabilities,
} from "./held-probabilities.ts";
import { lockFile, planFolds, savePlan } from "./plan.ts";

export interface AuditOptions extends StopOptions {
  /** A data folder, or a recipe file whose data is audited. */
  source: string;
  /** Which model doubts: the linear companion, in seconds, or the language model of the recipe. Default linear. */
  with?: "linear" | "model";
  /** Folder of the report, and of the language model's folds; the same command continues them. */
  run: string;
  /** Data folder in the place of the recipe's. */
  data?: string;
  /** Values that replace the recipe's. */
  overrides?: readonly string[];
  badRows?: "stop" | "skip";
  /** Default 5. */
  folds?: number;
  /** Seed of the folds, of the linear companion and of planted labels; default 1. */
  seed?: number;
  /** Give this share of the rows a wrong label first, to measure how many of them the ranking finds. */
  plant?: number;
  onEvent?: (event: AuditEvent) => void;
}

export type AuditEvent =
  | DataEvent
  | { kind: "notice"; text: string }
  /** Folds of the linear companion. */
  | { kind: "linear"; done: number; total: number }
  | HeldEvent;

/** Thrown when an audit was stopped before its end: repeat it with the same folder to continue. */
export class AuditStopped extends Error {
  readonly signal: StopSignal | null;

  constructor(directory: string, signal: StopSignal | null) {
    super(`${directory}: the audit was stopped; finished folds of the language model are kept.`);
    this.name = "AuditStopped";
    this.signal = signal;
  }
}

/** The share of rows whose pairs of labels are counted. */
const PAIRS_SHARE = 0.02;

/**
 * Ranks the training rows of a data folder by how much a model doubts their labels: it is trained on all folds but one and asked about the rows
 * of that one, so that no row is judged by a model that saw its sentence. Throws a UserError for data or a recipe that cannot be used, and an
 * {@link AuditStopped} when it was stopped.
 */
export async function audit(options: AuditOptions): Promise<Audit> {
  const { run: directory, with: kind = "linear", folds = 5, seed = 1, plant } = options;
  const onEvent = options.onEvent ?? (() => {});
  const stop = watchForStop(options);
  try {
    const source = sourceOf(options);
    const reading = await readRecipeParts({ isFast: hasFastBackend(), ...source });
    const { notices, ...rows } = await readFoldRows(reading, onEvent);
    for (const text of notices) onEvent({ kind: "notice", text });
    const { examples, planted } =
      plant === undefined ? { examples: rows.examples, planted: null } : plantWrongLabels(rows.examples, plant, seed);
    const judged = { ...rows, examples };
    const probabilities =
      kind === "linear"
        ? await linearHeldProbabilities(judged, {
            ...{ folds, seed, signal: stop.signal },
            onFold: (done, total) => onEvent({ kind: "linear", done, total }),
          })
        : await probabilitiesOfModel({ directory, source, folds, foldSeed: seed, rows: judged }, stop.signal, onEvent);
    const ranked = rankByDoubt(examples, probabilities, rows.labels);
    return {
      ...{ data: rows.data, directory: rows.directory, with: kind, folds, labels: rows.labels, examples, rows: ranked },
      precision: precisionAtK(ranked, planted),
      pairs: doubtedPairs(ranked, examples, Math.ceil(PAIRS_SHARE * ranked.length)),
      f1: f1Of(ranked, examples, rows.labels),
      planted: planted?.size ?? null,
      normalize: reading.parts.data.normalize,
    };
  } catch (error) {
    throw error instanceof FoldsStopped ? new AuditStopped(directory, stop.by) : error;
  } finally {
    stop.close();
  }
}

function sourceOf({ source, data, overrides, badRows }: AuditOptions): RecipeSource {
  const isFolder = statSync(source, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (isFolder && data !== undefined) {
    throw new UserError(`${source}: is a data folder, and ${data} is given too, expected one of them.`);
  }
  return isFolder ? { overrides, dataPath: source, badRows } : { file: source, overrides, dataPath: data, badRows };
}

/** Trains the folds of the language model in the folder. */
async function probabilitiesOfModel(
  settings: Pick<Parameters<typeof planFolds>[0], "directory" | "source" | "folds" | "foldSeed" | "rows">,
  signal: AbortSignal,
  onEvent: (event: AuditEvent) => void,
): Promise<HeldProbabilities> {
  await buildAtFirstUse((text) => onEvent({ kind: "notice", text }));
  const plan = await planFolds({ ...settings, axes: [], ownFiles: AUDIT_FILES, onData: () => {} });
  await makeFolder(plan.directory);
  const release = await holdLock(lockFile(plan.directory), plan.directory);
  try {
    await savePlan(plan);
    return await modelHeldProbabilities(plan, { signal, onEvent });
  } finally {
    await release();
  }
}

function f1Of(ranked: readonly DoubtedRow[], examples: readonly Example[], labels: LabelSet): Audit["f1"] {
  const scored = ranked.map(({ place, says }) => ({ gold: examples[place].relations ?? [], predicted: [says] }));
  const { conventions } = computeMetrics(scored, labels, { bootstrap: null });
  return { micro: conventions.micro.f1, paper: conventions.paper.f1 };
}

const REPORT_FILE = "report.html";
const ROWS_FILE = "rows.jsonl";
/** What an audit writes into its folder; `data` is the usual place of a copy without the dropped rows. */
const AUDIT_FILES: readonly string[] = [REPORT_FILE, ROWS_FILE, "data"];

/** Checks before the work that a report can be written. Throws a UserError. */
export const checkAuditFolder = (directory: string): Promise<void> => checkOutputFolder(directory);

/** Writes the page and all rows, the most suspicious first, as JSONL; returns the paths of both. */
export async function saveAudit(found: Audit, directory: string): Promise<{ report: string; rows: string }> {
  await makeFolder(directory);
  const files = { report: join(directory, REPORT_FILE), rows: join(directory, ROWS_FILE) };
  const digits = (value: number) => Number(value.toPrecision(6));
  const lines = found.rows.map(({ place, suspicion, says, probability, disagrees, reversed }, i) => {
    const { id, sentence, head, tail, headSpan, tailSpan, relations } = found.examples[place];
    const other = reversed && { relations: found.examples[reversed.place].relations, says: reversed.says };
    const values = {
      ...{ rank: i + 1, suspicion: digits(suspicion), id, sentence, head, tail, headSpan, tailSpan, relations },
      ...{ says, probability: digits(probability), disagrees, reversed: other },
    };
    return `${writeMembers(new Map(), values)}\n`;
  });
  await writeFileAtomic(files.rows, lines.join(""));
  await writeFileAtomic(files.report, renderAuditPage(found));
  return files;
}

/** The rows that a share of all rows means: the most suspicious ones, rounded to rows. */
export function mostSuspicious({ rows, examples }: Pick<Audit, "rows" | "examples">, share: number): Example[] {
  return rows.slice(0, Math.round(share * rows.length)).map(({ place }) => examples[place]);
}

/**
 * Copies the data folder to a new one without the most suspicious share of its training rows; everything else stays as it is. Throws a
 * UserError for a folder that is not empty, a share that is no row, and for an audit with planted labels.
 */
export async function dropSuspicious(found: Audit, share: number, output: string): Promise<LeftOut> {
  if (found.planted !== null) throw new UserError("Rows with planted labels cannot be dropped from the data.");
  const dropped = mostSuspicious(found, share);
  if (dropped.length === 0) {
    throw new UserError(`${100 * share} % of ${found.rows.length} rows is no row, expected at least one.`);
  }
  const dataset = await openDataset(found.directory, { labels: found.labels, normalize: found.normalize });
  return copyWithoutRows(dataset, "train", dropped, output, found.normalize);
}

/** Checks before the work that rows can be dropped into a folder. Throws a UserError. */
export async function checkDropFolder(output: string): Promise<void> {
  await checkOutputFolder(output);
  await expectEmptyFolder(output);
}
