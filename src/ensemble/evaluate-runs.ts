import { UserError } from "../base/errors.ts";
import type { Example, LabelSet } from "../data/example.ts";
import type { OnBadRow, SplitName } from "../data/split.ts";
import type { BootstrapOptions } from "../evaluate/bootstrap.ts";
import { computeMetrics, type Metrics } from "../evaluate/metrics.ts";
import { type Reference, trivialReferences } from "../evaluate/references.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import { CONVENTIONS } from "../evaluate/tally.ts";
import { chooseRelations } from "../extract/combine.ts";
import { meanDistribution, meanWeight, placesOf } from "../extract/ensemble.ts";
import { openCalibration } from "../runs/calibration.ts";
import { choiceOf, mixtureOf } from "../runs/calibration-read.ts";
import { openCompanion } from "../runs/companion.ts";
import { type AskedRun, type ComparisonEvent, expectSameRows, readAskedRun } from "../runs/compare-runs.ts";
import type { OpenOptions } from "../runs/open.ts";
import { openRun } from "../runs/run.ts";
import { findDistributions, saveDistributions } from "../runs/saved-distributions.ts";
import { findPredictions, savePredictions } from "../runs/saved-predictions.ts";
import { expectEnsemble } from "./open-runs.ts";

export interface EvaluateRunsOptions extends Pick<OpenOptions, "decode" | "storage"> {
  /** A data folder in the place of the one that each run was trained on. */
  data?: string;
  /** Default test. */
  split?: SplitName;
  onBadRow?: OnBadRow;
  /** Null computes no intervals. */
  bootstrap?: BootstrapOptions | null;
  onEvent?: (event: ComparisonEvent) => void;
}

/** The scores of several runs that answer together, and of each alone. */
export interface EnsembleEvaluation {
  /** Of the averaged label distributions. */
  metrics: Metrics;
  runs: { directory: string; metrics: Metrics }[];
  /** F1 of each run, their mean, and of trivial answers. */
  references: Reference[];
  data: string;
  split: SplitName;
  labels: LabelSet;
  examples: readonly Example[];
  rows: ScoredRow[];
}

interface Answers {
  /** In the order of the run's labels. */
  distributions: Float64Array[];
  rows: ScoredRow[];
}

/**
 * Scores runs together and each alone on the same rows. The runs answer one after another, so that one model is in memory at a time; what each
 * has answered is kept in its folder, and read the next time. Throws a UserError for runs whose rows or labels differ.
 */
export async function evaluateRuns(
  directories: readonly string[],
  options: EvaluateRunsOptions = {},
): Promise<EnsembleEvaluation> {
  const { split = "test", bootstrap } = options;
  await expectEnsemble(directories, options);
  const asked: AskedRun[] = [];
  for (const directory of directories) asked.push(await readAskedRun(directory, split, options));
  for (const other of asked.slice(1)) expectSameRows(asked[0], other, split);
  const answers: Answers[] = [];
  for (const run of asked) answers.push(await answersOf(run, split, options));
  const [{ labels, examples, data, recipe }] = asked;
  const places = asked.map((run) => placesOf(labels.labels, run.labels.labels));
  const weights: number[] = [];
  for (const run of asked) weights.push(await noRelationWeightOf(run, options));
  const choice = { ...recipe.decode, ...options.decode, noRelationWeight: meanWeight(weights) };
  const rows = examples.map(({ relations = [], sentence }, i): ScoredRow => {
    const mean = meanDistribution(answers.map(({ distributions }, m) => places[m].map((at) => distributions[i][at])));
    const predicted = chooseRelations(mean, labels, choice).predictions.map(({ relation }) => relation);
    return { gold: relations, predicted, argmax: predicted[0], group: sentence };
  });
  const runs = asked.map(({ directory }, m) => {
    return { directory, metrics: computeMetrics(answers[m].rows, labels, { bootstrap: null }) };
  });
  const metrics = computeMetrics(rows, labels, { bootstrap });
  const references = [...referencesOf(runs), ...trivialReferences(rows, labels)];
  return { metrics, runs, references, data: data.name, split, labels, examples, rows };
}

/** The weight of "no relation" that a run decodes with. */
async function noRelationWeightOf(
  { folder, recipe, labels }: AskedRun,
  { decode }: EvaluateRunsOptions,
): Promise<number> {
  const wanted = { ...recipe.decode, ...decode };
  const companion = await openCompanion(folder, labels);
  const isMixed = companion !== null && mixtureOf(companion, wanted) !== null;
  return choiceOf(wanted, await openCalibration(folder), isMixed).noRelationWeight;
}

/** F1 of each run and their mean. */
function referencesOf(runs: EnsembleEvaluation["runs"]): Reference[] {
  const each = runs.map(({ directory, metrics: { conventions, macro } }): Reference => {
    const f1 = Object.fromEntries(CONVENTIONS.map((name) => [name, conventions[name].f1]));
    return { name: directory, f1: { ...f1, macro: macro.f1 } };
  });
  const names = [...CONVENTIONS, "macro" as const];
  const meanOf = (name: (typeof names)[number]) => each.reduce((sum, { f1 }) => sum + (f1[name] ?? 0), 0) / each.length;
  return [...each, { name: "mean of the runs", f1: Object.fromEntries(names.map((name) => [name, meanOf(name)])) }];
}

/** What a run answers to its rows: what an earlier evaluation kept, or new answers, which are kept. */
async function answersOf(
  { directory, folder, recipe: own, labels, examples, data }: AskedRun,
  split: SplitName,
  { decode, storage, onBadRow, onEvent = () => {} }: EvaluateRunsOptions,
): Promise<Answers> {
  const model = storage ? { ...own.model, storage } : own.model;
  const recipe = { ...own, model, decode: { ...own.decode, ...decode } };
  const saved = await findPredictions({ folder, recipe }, examples, split);
  const count = labels.labels.length;
  const kept = saved && (await findDistributions({ folder, recipe }, examples, split, count));
  if (saved && kept) {
    onEvent({ run: directory, kind: "saved" });
    return { distributions: kept, rows: saved };
  }
  const run = await openRun(directory, {
    ...{ decode, storage },
    onNotice: (text) => onEvent({ run: directory, kind: "notice", text }),
    onLoad: (done, total) => onEvent({ run: directory, kind: "loading", done, total }),
  });
  try {
    const evaluation = await run.evaluate({
      ...{ data: data.path, split, onBadRow, bootstrap: null },
      onEvent(event) {
        // The rows were read, and their bad rows told, before.
        if (event.kind !== "data") onEvent({ run: directory, ...event });
      },
    });
    const distributions = evaluation.extractions.map(({ probabilities }) => probabilities);
    const keep = async () => {
      await savePredictions(run, evaluation);
      await saveDistributions(run, evaluation.examples, split, distributions);
    };
    await keep().catch((error: unknown) => {
      if (!(error instanceof UserError)) throw error;
      onEvent({ run: directory, kind: "notice", text: `its answers are not kept: ${error.message}` });
    });
    // As they are read back, so that a repeated evaluation gives the same numbers.
    const again = await findDistributions(run, evaluation.examples, split, count);
    return { distributions: again ?? distributions, rows: evaluation.rows };
  } finally {
    await run.close();
  }
}
