import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { mergedNotice, type OnBadRow, type SplitName } from "../data/split.ts";
import type { BootstrapOptions } from "../evaluate/bootstrap.ts";
import { type Certainty, certaintyOf } from "../evaluate/certainty.ts";
import { errorExamples } from "../evaluate/error-examples.ts";
import { type Evaluation, evaluate } from "../evaluate/evaluate.ts";
import { renderHtmlReport } from "../evaluate/html-report.ts";
import type { LogPoint } from "../evaluate/loss-curve.ts";
import { type Reference, trivialReferences } from "../evaluate/references.ts";
import { type MetricsJson, toJson } from "../evaluate/report.ts";
import type { ValidationPoint } from "../evaluate/validation-curve.ts";
import type { Extractor } from "../extract/extractor.ts";
import { recipeText } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type Calibration, choiceOf } from "./calibration-read.ts";
import type { RunCompanion } from "./companion-read.ts";
import {
  type CompanionScores,
  companionReferences,
  companionScores,
  type DecodingChoices,
} from "./companion-scores.ts";
import type { AdapterSource } from "./given-adapter.ts";
import { type DataEvent, labelledRows, readLabelledSplit } from "./labelled-rows.ts";
import type { NoticeEvent } from "./notice.ts";
import { type LogLine, type RunFolder, readLog } from "./run-folder.ts";
import { savePredictions } from "./saved-predictions.ts";
import { lookNotice, recordTestLook, type TestLook } from "./test-looks.ts";

/** An event of an evaluation: a split that was read, a notice (on rows that a program gave, on earlier looks at test rows), the rows that are extracted. */
export type EvaluationEvent = DataEvent | NoticeEvent | { kind: "rows"; done: number; total: number };

export interface EvaluateOptions {
  /** A data folder or labelled rows; default: the data folder that the run was trained on. */
  data?: string | readonly Example[];
  /** The split of a data folder; default test. */
  split?: SplitName;
  /** What happens to a bad row; default: as in training. */
  onBadRow?: OnBadRow;
  /** Null computes no intervals. */
  bootstrap?: BootstrapOptions | null;
  onEvent?: (event: EvaluationEvent) => void;
}

/** The scores of a run on labelled rows, with what they were computed from. */
export interface RunEvaluation extends Evaluation {
  /** Name of the data folder and its split; null for rows that a program gave. */
  source: { data: string; split: SplitName } | null;
  /** F1 on the same rows: of trivial answers, of the linear companion, and with or without it. */
  references: Reference[];
  /** The parts of a run with a linear companion; null without one. */
  companion: CompanionScores | null;
  /** How far the probabilities of the predictions can be believed; of answers without probabilities nothing is known. */
  certainty: Certainty;
  /** Time of the extraction. */
  seconds: number;
  /** The evaluations of this run on the test split of this data up to now, this one last; empty for other rows. */
  testLooks: readonly TestLook[];
  /** Absent for a model in this process. */
  endpoint?: EndpointUse;
}

/** The parts of an opened run that an evaluation needs. */
export interface EvaluatedRun {
  /** The paths of the run's files. */
  readonly folder: RunFolder;
  /** An adapter that another program made: nothing is written into its folder. Null for a run. */
  readonly given: AdapterSource | null;
  /** The resolved recipe that the run was trained by. */
  readonly recipe: Recipe;
  readonly labels: LabelSet;
  /** The model with its prompt and labels; `extract`, `stream` and `evaluate` call it. */
  readonly extractor: Extractor;
  /** The linear companion; null for a run that has none. */
  readonly companion: RunCompanion | null;
  /** What validation rows said of how relations are chosen; null for a run that has none. */
  readonly calibration: Calibration | null;
  /** Where a server answers instead of a model in this process: who, how, and what it has cost so far. */
  readonly endpoint?: () => EndpointUse;
  /** Nothing is written: no run belongs to the answers. */
  readonly keepsNothing?: boolean;
}

/** What answers of a server were asked from whom, how, and what they cost. */
export interface EndpointUse {
  url: string;
  model: string;
  way: string;
  /** The way in words. */
  about: string;
  /** Whether answers have probabilities. */
  hasProbabilities: boolean;
  /** Training rows shown with each question; null for the prompt of a recipe. */
  shots: { count: number; by: string; seed: number } | null;
  requests: number;
  retries: number;
  cacheHits: number;
  promptTokens: number;
  answerTokens: number;
}

/** A server's part in a report, in one line. */
export function endpointLine(use: EndpointUse): string {
  const { url, model, about, hasProbabilities, shots, requests, retries, cacheHits, promptTokens, answerTokens } = use;
  const parts = [`${model} at ${url}: ${about}${hasProbabilities ? "" : " (no probabilities)"}`];
  if (shots) parts.push(shots.count === 0 ? "no examples shown" : `${shots.count} training rows shown (${shots.by})`);
  parts.push(`${requests} requests${retries > 0 ? ` and ${retries} repeated attempts` : ""}`);
  parts.push(`${promptTokens} prompt tokens and ${answerTokens} answer tokens by the server's count`);
  if (cacheHits > 0) parts.push(`${cacheHits} answers from the cache`);
  return parts.join("; ");
}

/** Evaluates a run; see `Run.evaluate`. Throws a UserError for data that cannot be read and rows without known relations. */
export async function evaluateRun(run: EvaluatedRun, options: EvaluateOptions = {}): Promise<RunEvaluation> {
  const { onEvent = () => {}, bootstrap } = options;
  const { examples, source, badRows, mergedRows } = await rowsToEvaluate(run, options, onEvent);
  const total = examples.length;
  onEvent({ kind: "rows", done: 0, total });
  const started = performance.now();
  const evaluation = await evaluate(run.extractor, examples, {
    bootstrap,
    badRows,
    mergedRows,
    onRows: (done) => onEvent({ kind: "rows", done, total }),
  });
  const seconds = (performance.now() - started) / 1000;
  const { mixture = null } = run.extractor;
  const companion = run.companion && companionScores(run.companion, run.labels, choicesOf(run), mixture, evaluation);
  const trivial = trivialReferences(evaluation.rows, run.labels);
  const references = [...(companion ? companionReferences(companion) : []), ...trivial];
  const testLooks =
    source?.split === "test" && run.given === null && !run.keepsNothing
      ? await lookAtTest(run.folder, source.data, evaluation.examples, onEvent)
      : [];
  const rows = evaluation.extractions.map(({ predictions }, i) => ({ gold: evaluation.rows[i].gold, predictions }));
  const certain = run.extractor.hasNoProbabilities ? [] : rows;
  const certainty = certaintyOf(certain, run.labels.noRelation);
  const endpoint = run.endpoint?.();
  return {
    ...{ ...evaluation, source, references, companion, certainty, seconds, testLooks },
    ...(endpoint ? { endpoint } : {}),
  };
}

/** How an opened run chooses relations with and without its companion; what `decode` replaced holds for both. */
function choicesOf({ extractor: { settings }, calibration }: EvaluatedRun): DecodingChoices {
  const { method, isFitted, noRelationWeight, furtherRelations } = settings;
  const wanted = { noRelationWeight: isFitted ? ("auto" as const) : noRelationWeight, furtherRelations };
  return { method, model: choiceOf(wanted, calibration, false), mixed: choiceOf(wanted, calibration, true) };
}

/** Records a look at test rows. A run that cannot be written to is evaluated all the same, with a notice. */
async function lookAtTest(
  folder: RunFolder,
  data: string,
  examples: readonly Example[],
  onEvent: (event: NoticeEvent) => void,
): Promise<TestLook[]> {
  try {
    const looks = await recordTestLook(folder, data, examples);
    const text = lookNotice(looks);
    if (text !== null) onEvent({ kind: "notice", text });
    return looks;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    onEvent({ kind: "notice", text: `this look at the test rows is not recorded: ${error.message}` });
    return [];
  }
}

async function rowsToEvaluate(
  { recipe, labels, folder }: EvaluatedRun,
  { data = recipe.data.path, split = "test", onBadRow = recipe.data.badRows }: EvaluateOptions,
  onEvent: (event: DataEvent | NoticeEvent) => void,
): Promise<Pick<RunEvaluation, "examples" | "source"> & { badRows: number; mergedRows: number }> {
  if (data === undefined) {
    throw new UserError(`${folder.directory}: does not know where its data is.`, {
      hint: "Give the data folder: cre evaluate RUN --data DIR, or run.evaluate({ data }).",
    });
  }
  if (typeof data !== "string") {
    const { examples, merged } = labelledRows(data, labels, "evaluate", recipe.data.normalize);
    const text = mergedNotice("evaluate", merged);
    if (text !== null) onEvent({ kind: "notice", text });
    return { examples, source: null, badRows: 0, mergedRows: merged };
  }
  const dataset = await openDataset(data, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  let counts = { badRows: 0, merged: 0 };
  const examples = await readLabelledSplit(dataset, split, onBadRow, (event) => {
    counts = event.counts;
    onEvent(event);
  });
  return { examples, source: { data: dataset.name, split }, badRows: counts.badRows, mergedRows: counts.merged };
}

/** The content of metrics.json. */
export interface RunMetricsJson extends MetricsJson {
  /** Name of the data folder and its split; absent for rows that a program gave. */
  data?: string;
  split?: SplitName;
  seconds: number;
  truncated: number;
  /** Absent for answers without probabilities. */
  certainty?: Certainty;
  /** Absent for a run without a linear companion. */
  companion?: CompanionScores;
  /** Absent for a model in this process. */
  endpoint?: EndpointUse;
}

export function evaluationJson(evaluation: RunEvaluation): RunMetricsJson {
  const { metrics, references, source, seconds, truncated, certainty, companion, endpoint } = evaluation;
  return {
    ...toJson(metrics, { references }),
    ...source,
    seconds,
    truncated,
    ...(endpoint?.hasProbabilities === false ? {} : { certainty }),
    ...(companion ? { companion } : {}),
    ...(endpoint ? { endpoint } : {}),
  };
}

/** What a report of an evaluation is called. */
export function evaluationTitle({ folder }: EvaluatedRun, { source, examples, endpoint }: RunEvaluation): string {
  const name = endpoint ? `${endpoint.model} at ${endpoint.url}` : folder.directory;
  return `${name} on ${source ? `${source.data}, ${source.split}` : `${examples.length} rows`}`;
}

/** Writes `metrics.json`, `report.html` and the answers to every row (`predictions/`) of an evaluation into the run's folder. */
export async function saveEvaluation(run: EvaluatedRun, evaluation: RunEvaluation): Promise<void> {
  await saveReport(run, evaluation, run.folder, await readLog(run.folder));
  await savePredictions(run, evaluation);
}

/** Writes `metrics.json` and `report.html` of an evaluation into a folder; the lines of a run's log are drawn as its curves. */
export async function saveReport(
  run: EvaluatedRun,
  evaluation: RunEvaluation,
  folder: Pick<RunFolder, "metrics" | "report">,
  log: readonly unknown[] = [],
): Promise<void> {
  const { recipe } = run;
  const { metrics, examples, rows, extractions, references, certainty, endpoint } = evaluation;
  await writeFileAtomic(folder.metrics, `${JSON.stringify(evaluationJson(evaluation), null, 2)}\n`);
  const probabilities = extractions.map(({ predictions }) => {
    const probability = predictions[0]?.probability ?? Number.NaN;
    return Number.isNaN(probability) ? null : probability;
  });
  const ofKind = <T>(kind: LogLine["kind"]) => log.filter((line) => (line as LogLine).kind === kind) as T[];
  const html = renderHtmlReport({
    title: evaluationTitle(run, evaluation),
    metrics,
    recipe: endpoint?.shots ? undefined : recipeText(recipe),
    log: ofKind<LogPoint>("step"),
    validations: ofKind<ValidationPoint>("validation"),
    certainty: run.extractor.hasNoProbabilities ? undefined : certainty,
    subtitle: endpoint && endpointLine(endpoint),
    examples: errorExamples(examples, rows, probabilities),
    references,
  });
  await writeFileAtomic(folder.report, html);
}
