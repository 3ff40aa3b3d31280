import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { holdLock } from "../base/lock.ts";
import { makeFolder } from "../base/output.ts";
import { buildAtFirstUse } from "../compute/native/first-build.ts";
import type { Interval } from "../evaluate/bootstrap.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { percent } from "../evaluate/wording.ts";
import { type RecipeSource, recipeText } from "../recipe/read.ts";
import type { DataEvent } from "../runs/labelled-rows.ts";
import { type StopOptions, type StopSignal, watchForStop } from "../runs/stop-signals.ts";
import type { RecipeInput, TrainingEvent } from "../runs/training.ts";
import type { Candidate } from "./candidates.ts";
import { answerHeld, FoldsStopped, keptAnswers, trainFold, trainingSeconds } from "./fold-run.ts";
import { type GridAxis, gridAxis, parseGridAxis } from "./grid.ts";
import { type FoldPlan, foldRun, lockFile, planFolds, savePlan } from "./plan.ts";
import {
  LEVEL,
  leaderOf,
  losersOf,
  RACE_DRAWS,
  type RaceMetric,
  scoreUnit,
  standingOf,
  type UnitScore,
} from "./race.ts";

export interface TuneOptions extends StopOptions {
  /** Folder of the work; the same command with the same folder continues it. */
  run: string;
  /** A recipe file, or the values of a recipe; without it the defaults for the data. */
  recipe?: string | RecipeInput;
  /** Values that replace the recipe's ("train.epochs=2") for all candidates. */
  overrides?: readonly string[];
  /** Data folder in the place of the recipe's. */
  data?: string;
  badRows?: "stop" | "skip";
  /** The values to try: `{ "train.learningRate": [1e-4, 3e-4] }`, or as on the command line (`["train.learningRate=1e-4,3e-4"]`). */
  grid: Readonly<Record<string, readonly unknown[]>> | readonly string[];
  /** Default 5. */
  folds?: number;
  /** Seeds of the trainings; default 1. */
  seeds?: readonly number[];
  /** Seed of the division into folds and of the bootstrap; default 1. */
  foldSeed?: number;
  /** The F1 that decides; default micro. */
  metric?: RaceMetric;
  /** Drop candidates that are certainly worse than the leader before all folds are trained; default true. */
  dropLosers?: boolean;
  onEvent?: (event: TuneEvent) => void;
}

/** A training on one fold with one seed, for the candidates that are trained alike. */
export interface TuneUnit {
  /** Names of the candidates. */
  candidates: string[];
  seed: number;
  /** From 1. */
  fold: number;
}

export type TuneEvent =
  | DataEvent
  | { kind: "notice"; text: string }
  | { kind: "plan"; candidates: string[]; folds: number; seeds: readonly number[]; trainings: number }
  /** Work on a unit begins; `done` of `total` trainings are finished or were dropped. */
  | { kind: "unit"; unit: TuneUnit; done: number; total: number }
  | { kind: "training"; unit: TuneUnit; event: TrainingEvent }
  | { kind: "rows"; unit: TuneUnit; done: number; total: number }
  | { kind: "score"; candidate: string; seed: number; fold: number; micro: number; paper: number }
  | { kind: "dropped"; candidate: string; behind: number; interval: Interval };

/** One line of the table. F1 as fractions, means over folds and seeds; intervals (95 %) by sentences, drawn within each fold. */
export interface TunedCandidate {
  name: string;
  micro: number;
  paper: number;
  interval: Interval;
  /** The deciding F1 minus the best candidate's, on the folds that both have. */
  behind: number;
  behindInterval: Interval;
  /** Folds and seeds that it was trained on; fewer than the others' when it was dropped. */
  units: number;
  isDropped: boolean;
  /** Mean time of one training. */
  seconds: number;
}

export interface TuneResult {
  /** The best first, dropped ones last. */
  candidates: TunedCandidate[];
  metric: RaceMetric;
  folds: number;
  seeds: readonly number[];
  data: string;
  rows: number;
  /** The recipe of the best candidate. */
  best: string;
}

/** Thrown when a tuning was stopped before its end: repeat it with the same folder to continue. */
export class TuningStopped extends Error {
  /** The process signal that stopped it; null for an AbortSignal. */
  readonly signal: StopSignal | null;

  constructor(directory: string, signal: StopSignal | null) {
    super(`${directory}: tuning stopped; what is finished is kept.`);
    this.name = "TuningStopped";
    this.signal = signal;
  }
}

const MOST_SEEDS = 100;

/** Reads and checks everything that a tuning needs; nothing is written. Throws a UserError for every mistake. */
export async function planTuning(options: TuneOptions): Promise<FoldPlan> {
  const { run, recipe, overrides, data, badRows, folds = 5, foldSeed = 1, seeds = [1] } = options;
  const isSeed = (seed: number) => Number.isInteger(seed) && seed >= 0 && seed <= 0xffffffff;
  if (seeds.length === 0 || seeds.length > MOST_SEEDS || !seeds.every(isSeed) || new Set(seeds).size < seeds.length) {
    throw new UserError(`The seeds are [${seeds.join(", ")}], expected 1 to ${MOST_SEEDS} different whole numbers.`);
  }
  const values = typeof recipe === "string" ? { file: recipe } : { values: recipe };
  const source: RecipeSource = { ...values, overrides, dataPath: data, badRows };
  const onData = (event: DataEvent) => options.onEvent?.(event);
  return planFolds({ directory: run, source, axes: axesOf(options.grid), folds, foldSeed, onData });
}

function axesOf(grid: TuneOptions["grid"]): GridAxis[] {
  const axes = isTexts(grid)
    ? grid.map(parseGridAxis)
    : Object.entries(grid).map(([key, values]) =>
        gridAxis(
          key,
          values.map((value) => ({ value, text: typeof value === "string" ? value : (JSON.stringify(value) ?? "") })),
        ),
      );
  if (axes.length === 0) {
    throw new UserError("The grid is empty, expected values to try.", { hint: "For example --grid train.epochs=4,8" });
  }
  return axes;
}

function isTexts(grid: TuneOptions["grid"]): grid is readonly string[] {
  return Array.isArray(grid);
}

/** A candidate with what is known of it. */
interface RunningCandidate {
  candidate: Candidate;
  units: UnitScore[];
  isDropped: boolean;
  seconds: number[];
}

/**
 * Chooses among the values of a grid by cross-validation over the training rows: each candidate is trained on all folds but one and scored on
 * that one, for every fold and seed; rows of a sentence are in one fold. The validation and test rows of the data are never read. Candidates
 * that are certainly worse than the leader are dropped. The recipe of the best is written to `best.yaml` in the folder.
 *
 * Throws a UserError for a mistake in recipe, grid, data or folder before any work, and a {@link TuningStopped} when it was stopped.
 */
export async function tune(options: TuneOptions): Promise<TuneResult> {
  const { run: directory, seeds = [1], metric = "micro", dropLosers = true } = options;
  const onEvent = options.onEvent ?? (() => {});
  await buildAtFirstUse((text) => onEvent({ kind: "notice", text }));
  const plan = await planTuning(options);
  for (const text of plan.notices) onEvent({ kind: "notice", text });
  await makeFolder(directory);
  const release = await holdLock(lockFile(directory), directory);
  const stop = watchForStop(options);
  try {
    await savePlan(plan);
    const running = plan.candidates.map((candidate): RunningCandidate => {
      return { candidate, units: [], isDropped: false, seconds: [] };
    });
    await race(plan, running, { seeds, metric, dropLosers, signal: stop.signal, onEvent });
    const result = resultOf(plan, running, { seeds, metric });
    await writeBest(plan, result);
    await writeFileAtomic(join(directory, "results.json"), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } catch (error) {
    throw error instanceof FoldsStopped ? new TuningStopped(directory, stop.by) : error;
  } finally {
    stop.close();
    await release();
  }
}

interface RaceOptions {
  seeds: readonly number[];
  metric: RaceMetric;
  dropLosers: boolean;
  signal: AbortSignal;
  onEvent: (event: TuneEvent) => void;
}

/** Gives every candidate one fold after another, so that losers are known early. */
async function race(plan: FoldPlan, running: RunningCandidate[], options: RaceOptions): Promise<void> {
  const { seeds, metric, dropLosers, onEvent } = options;
  const rounds = seeds.flatMap((seed) => plan.folds.map((_, fold) => ({ seed, fold })));
  const trainingsOf = (list: readonly RunningCandidate[]) =>
    new Set(list.map(({ candidate }) => candidate.training)).size;
  const total = rounds.length * trainingsOf(running);
  const names = running.map(({ candidate }) => candidate.name);
  onEvent({ kind: "plan", candidates: names, folds: plan.folds.length, seeds, trainings: total });
  let done = 0;
  for (const [round, { seed, fold }] of rounds.entries()) {
    const alive = running.filter(({ isDropped }) => !isDropped);
    for (const group of groupsOf(alive)) {
      const unit = { candidates: group.map(({ candidate }) => candidate.name), seed, fold: fold + 1 };
      onEvent({ kind: "unit", unit, done, total });
      await runUnit(plan, group, unit, options);
      done++;
    }
    if (!dropLosers || round === rounds.length - 1) continue;
    const leader = leaderOf(alive, metric);
    for (const loser of losersOf(alive, metric)) {
      const { behind, behindInterval } = standingOf(alive[loser], alive[leader as number], metric);
      alive[loser].isDropped = true;
      onEvent({ kind: "dropped", candidate: alive[loser].candidate.name, behind, interval: behindInterval });
    }
    const left = rounds.length - round - 1;
    done = total - left * trainingsOf(running.filter(({ isDropped }) => !isDropped));
  }
}

/** Candidates that are trained alike, in the order of the grid. */
function groupsOf(running: readonly RunningCandidate[]): RunningCandidate[][] {
  const groups = new Map<string, RunningCandidate[]>();
  for (const one of running) {
    const group = groups.get(one.candidate.training);
    if (group === undefined) groups.set(one.candidate.training, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

/** Trains one fold where it was not trained, answers its held-out rows for each candidate of the group, and scores the answers. */
async function runUnit(
  plan: FoldPlan,
  group: readonly RunningCandidate[],
  unit: TuneUnit,
  { metric, signal, onEvent }: RaceOptions,
): Promise<void> {
  const fold = foldRun(plan, group[0].candidate, unit.seed, unit.fold - 1);
  const onFold = (event: TrainingEvent | { kind: "rows"; done: number; total: number }) =>
    onEvent(event.kind === "rows" ? { unit, ...event } : { kind: "training", unit, event });
  const answers: (ScoredRow[] | null)[] = [];
  for (const { candidate } of group) answers.push(await keptAnswers(fold, candidate.recipe));
  if (signal.aborted) throw new FoldsStopped();
  if (answers.includes(null)) await trainFold(fold, { signal, onEvent: onFold });
  const seconds = await trainingSeconds(fold);
  for (const [i, { candidate, units, seconds: own }] of group.entries()) {
    const rows = answers[i] ?? (await answerHeld(fold, candidate.recipe, { signal, onEvent: onFold }));
    const settings = { metric, draws: RACE_DRAWS, seed: plan.foldSeed };
    const score = scoreUnit(rows, plan.rows.labels, unit.fold, settings);
    units.push(score);
    own.push(seconds);
    const { micro, paper } = score;
    onEvent({ kind: "score", candidate: candidate.name, seed: unit.seed, fold: unit.fold, micro, paper });
  }
}

function resultOf(
  plan: FoldPlan,
  running: readonly RunningCandidate[],
  { seeds, metric }: Pick<RaceOptions, "seeds" | "metric">,
): TuneResult {
  const leader = running[leaderOf(running, metric) as number];
  const candidates = running.map((one): TunedCandidate => {
    const { candidate, units, isDropped, seconds } = one;
    const mean = seconds.reduce((sum, value) => sum + value, 0) / seconds.length;
    return {
      ...{ name: candidate.name, ...standingOf(one, leader, metric) },
      ...{ units: units.length, isDropped, seconds: mean },
    };
  });
  const byRank = (a: TunedCandidate, b: TunedCandidate) =>
    Number(a.isDropped) - Number(b.isDropped) || b.units - a.units || b[metric] - a[metric];
  return {
    candidates: candidates.sort(byRank),
    ...{ metric, folds: plan.folds.length, seeds, data: plan.rows.data, rows: plan.rows.examples.length },
    best: join(plan.directory, "best.yaml"),
  };
}

async function writeBest(plan: FoldPlan, result: TuneResult): Promise<void> {
  const [{ name, interval, ...scores }] = result.candidates;
  const { recipe } = plan.candidates.find((candidate) => candidate.name === name) as Candidate;
  const { metric, folds, seeds, data, rows, best } = result;
  const range = `${percent(interval.low)} to ${percent(interval.high)}, ${100 * LEVEL} %`;
  const header = [
    `Chosen by cre tune on ${data} (${rows} training rows, ${folds} folds, seeds ${seeds.join(", ")}): ${name}`,
    `${metric} F1 ${percent(scores[metric])} (${range}) on held-out training rows.`,
    `cre train ${best}`,
  ];
  await writeFileAtomic(best, `${header.map((line) => `# ${line}`).join("\n")}\n${recipeText(recipe)}`);
}
