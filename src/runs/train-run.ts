import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { writeFileAtomic } from "../base/files.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type EncodedAnswer, type EncodedExample, planSteps, type StepPlan } from "../train/batches.ts";
import { encodeMentions } from "../train/mention-targets.ts";
import { type TrainStep, train } from "../train/train.ts";
import { createWeightAverage } from "../train/weight-average.ts";
import {
  type CheckpointedTraining,
  checkpointedLoop,
  type LoopEvent,
  type LoopLimits,
  loadCheckpoint,
} from "./checkpointed-loop.ts";
import type { RunCompanion } from "./companion-read.ts";
import type { CompanionValidation } from "./companion-scores.ts";
import { passRoom } from "./memory.ts";
import type { NoticeEvent } from "./notice.ts";
import type { OpenedRecipe } from "./open.ts";
import { appendLog, type RunFolder, readLog } from "./run-folder.ts";
import { type OnPairs, saveResult, type Validation, validateWeights } from "./trained-weights.ts";
import {
  checkWeightValues,
  loadWeightValues,
  saveTrainingState,
  saveWeightValues,
  type TrainingOrigin,
  type TrainingProgress,
} from "./training-state.ts";

/** Points of an epoch at which the weights enter their mean. */
const AVERAGES_PER_EPOCH = 16;

/** An event of a fine-tuning run, in the order: a notice on the checkpoint, start, steps with validations and checkpoints, then stopped, or mixture (of a companion) and end. */
export type RunEvent =
  | NoticeEvent
  | { kind: "start"; totalSteps: number; stepsPerEpoch: number; examples: number; resumedAt: number; truncated: number }
  | LoopEvent<TrainStep, Validation>
  | ({ kind: "mixture" } & CompanionValidation)
  /** `waited`: the validations without a better one that ended the training before its last step; 0 when it was reached. */
  | { kind: "end"; steps: number; best: TrainingProgress["best"]; waited: number; seconds: number };

/** Training rows that were drawn by `train.negatives`, and the pairs that they were drawn from. */
export interface NegativeCounts {
  drawn: number;
  candidates: number;
}

/** Encoded training rows; `truncated` of them have a shortened prompt. */
export interface TaughtRows {
  encoded: readonly EncodedExample[];
  truncated: number;
}

/** Encodes training rows; a row with several relations becomes one joined answer or one row each, as the recipe says. */
export function encodeExamples(
  bench: Pick<OpenedRecipe, "recipe" | "renderer">,
  examples: readonly Example[],
): { encoded: EncodedAnswer[]; truncated: number } {
  const encoded: EncodedAnswer[] = [];
  let truncated = 0;
  for (const example of examples) {
    const relations = example.relations ?? [];
    const separate = bench.recipe.train.severalRelations === "separate";
    const rows = separate ? [...new Set(relations)].map((one) => ({ ...example, relations: [one] })) : [example];
    for (const row of rows) {
      const { promptIds, answerIds, truncated: shortened } = bench.renderer.renderExample(row);
      encoded.push({ promptIds: Int32Array.from(promptIds), answerIds: Int32Array.from(answerIds) });
      if (shortened) truncated++;
    }
  }
  return { encoded, truncated };
}

/** Everything that a run learns, encoded: its rows, or how they are taught, and with the task "mentions" the entities of each sentence. */
export function learntRows(
  bench: Pick<OpenedRecipe, "recipe" | "renderer">,
  examples: readonly Example[],
  taught: TaughtRows | null,
): TaughtRows {
  const rows = taught ?? encodeExamples(bench, examples);
  const named = bench.recipe.tasks.includes("mentions") ? encodeMentions(bench.renderer, examples) : null;
  if (!named) return rows;
  return { encoded: [...rows.encoded, ...named.encoded], truncated: rows.truncated + named.truncated };
}

/** The rows to validate on while training: all, or a choice that the seed fixes for the whole run. */
export function validationRows(recipe: Recipe, examples: readonly Example[]): readonly Example[] {
  const wanted = recipe.train.validationRows;
  if (wanted === 0 || wanted >= examples.length) return examples;
  const order = createRandom(mixSeed(recipe.seed, 0x7a11d)).shuffle(Array.from(examples.keys()));
  return order
    .slice(0, wanted)
    .sort((a, b) => a - b)
    .map((i) => examples[i]);
}

/**
 * Digests of all that decides a run's numbers, except its first weights. Paths, the time between checkpoints and the cut of a step into passes
 * decide nothing, nor does the companion and the precision of extraction, which no step depends on. The rows that are held out and the tasks are
 * known by what is learnt.
 */
export function originOf(
  recipe: Recipe,
  encoded: readonly EncodedExample[],
  validated: readonly Example[],
): TrainingOrigin {
  const { model, data, train, tasks: _tasks, ...rest } = recipe;
  const { path: _base, tokenizer: _tokenizer, ...sizes } = model;
  const { checkpointSeconds: _seconds, validationShare: _share, onePass: _pass, ...settings } = train;
  const { companion: _companion, precision: _precision, ...decode } = rest.decode;
  const numbers = withoutNeutral({ ...rest, decode, sizes, settings, format: data.format });
  return { recipe: digest([numbers]), rows: digest([...encoded.map(idsOf), ...validated]) };
}

/** Settings that runs of older versions do not have, with the values that change nothing. */
const NEUTRAL: Readonly<Record<string, unknown>> = {
  scaling: "lora",
  learningRateRatio: 1,
  embeddingNoise: 0,
  layerDecay: 1,
  patience: 0,
  negatives: 0,
  joinedSentences: 0,
};

/** The settings without those of {@link NEUTRAL}, so that the runs of older versions can be resumed. */
function withoutNeutral(settings: unknown): unknown {
  return JSON.parse(JSON.stringify(settings), (key, value) =>
    NEUTRAL[key] === value && key in NEUTRAL ? undefined : value,
  );
}

function idsOf({ promptIds, answerIds, answers }: EncodedExample): unknown[] {
  const soft = answers ? [answers.map(({ ids, weight }) => [Array.from(ids), weight])] : [];
  return [Array.from(promptIds), Array.from(answerIds), ...soft];
}

function digest(values: readonly unknown[]): string {
  const hash = createHash("sha256");
  for (const value of values) hash.update(`${JSON.stringify(value)}\n`);
  return hash.digest("hex");
}

/**
 * Trains a run from its last checkpoint, or from the start: yields every step, validation and checkpoint. Recipe, seed and rows decide all
 * numbers, so a run that was killed and resumed ends with the same weights as one that was not. At a limit it finishes the step in progress
 * and its validation, saves a checkpoint and ends with the event "stopped".
 */
export async function* trainRun(
  bench: OpenedRecipe,
  folder: RunFolder,
  trainExamples: readonly Example[],
  validExamples: readonly Example[],
  { onPairs, ...limits }: LoopLimits & { onPairs?: OnPairs } = {},
  companion: RunCompanion | null = null,
  /** Rows as they are learnt, where that is not with their labels alone. */
  taught: TaughtRows | null = null,
  /** How many of the training rows are negatives, for the log. */
  negatives: NegativeCounts | null = null,
  /** Entities of validation sentences that no row names. */
  annotated: readonly AnnotatedSentence[] = [],
): AsyncGenerator<RunEvent, void, void> {
  const { recipe, backend, model, groups, trainable } = bench;
  const { encoded, truncated } = learntRows(bench, trainExamples, taught);
  const plan = planSteps(encoded.length, recipe.train, recipe.seed);
  const validated = validationRows(recipe, validExamples);
  const trained = { backend, weights: trainable, origin: originOf(recipe, encoded, validated) };
  const { progress, average: values, notices } = await loadCheckpoint(folder, trained, limits);
  const { room, notice } = passRoom(bench, progress.passBytes);
  if (recipe.train.onePass) progress.passBytes = room.bytes;
  for (const text of notice === null ? notices : [...notices, notice]) yield { kind: "notice", text };
  // Checked now, because they are loaded only after the last step.
  if (progress.best !== null && existsSync(folder.best)) await checkWeightValues(folder.best);
  const average = createWeightAverage(backend, trainable, { count: progress.averaged, values });
  const { stepsPerEpoch, totalSteps } = plan;
  yield { kind: "start", totalSteps, stepsPerEpoch, examples: encoded.length, resumedAt: progress.step, truncated };
  // The folder of a new run is made by who hears of the start.
  if (negatives && progress.step === 0) await noteNegatives(folder, negatives);
  const started = performance.now();
  const { checkpointSeconds, patience } = recipe.train;
  const { averages, validates } = dueSteps(recipe, plan, validated.length);
  /** Probabilities of the validation rows at the best validation that this process made. */
  let bestProbabilities: Float64Array[] | null = null;
  const validateAndKeep = async (step: number) => {
    const { probabilities, ...result } = await validateWeights(bench, validated, step, progress);
    if (result.isBest) {
      await saveWeightValues(backend, trainable, folder.best);
      bestProbabilities = probabilities;
    }
    return result;
  };
  const training: CheckpointedTraining<TrainStep, Validation> = {
    totalSteps,
    checkpointSeconds,
    steps: train(model, groups, encoded, plan, recipe.train, recipe.seed, progress.step, room),
    async afterStep(step) {
      if (!averages(step)) return;
      await average.add();
      progress.averaged = average.count;
    },
    async validateAfter(step) {
      if (!validates(step)) return null;
      return average.count > 0 ? await average.during(() => validateAndKeep(step)) : await validateAndKeep(step);
    },
    endsEarly: () => patience > 0 && progress.waited >= patience,
    // The state holds the best validation, whose weights have just been written.
    saveAfterValidation: true,
    save: () => saveTrainingState(trained, progress, folder.state, average.values),
  };
  if (!(yield* checkpointedLoop(folder, progress, training, limits))) return;
  const isBestKept = progress.best !== null && existsSync(folder.best);
  if (isBestKept) await loadWeightValues(backend, trainable, folder.best);
  let mixture: CompanionValidation | null = null;
  const finish = async () => {
    const known = isBestKept ? bestProbabilities : null;
    mixture = await saveResult(bench, folder, validated, companion, known, annotated, onPairs);
  };
  await (average.count > 0 && !isBestKept ? average.during(finish) : finish());
  if (mixture) yield { kind: "mixture", ...(mixture as CompanionValidation) };
  const seconds = (performance.now() - started) / 1000;
  const peakResidentBytes = process.resourceUsage().maxRSS * 1024;
  const waited = progress.step < totalSteps ? progress.waited : 0;
  const early = waited > 0 ? { stoppedEarly: { totalSteps, waited } } : {};
  const learnt = negatives ? { negatives } : {};
  const done = { steps: progress.step, best: progress.best, ...early, ...learnt, peakResidentBytes };
  await writeFileAtomic(folder.done, `${JSON.stringify(done)}\n`);
  yield { kind: "end", steps: progress.step, best: progress.best, waited, seconds };
}

/** Writes the first line of the log, unless a killed process wrote it. */
async function noteNegatives(folder: RunFolder, negatives: NegativeCounts): Promise<void> {
  const log = await readLog(folder);
  if (!log.some(({ kind }) => kind === "negatives")) {
    await appendLog(folder, { kind: "negatives", step: 0, ...negatives });
  }
}

const never = () => false;

/** Tells the steps after which something is due: every `steps` of them, rounded to at least one, and the last one. */
function dueAfter(steps: number, totalSteps: number): (step: number) => boolean {
  const whole = Math.max(1, Math.round(steps));
  return (step) => step % whole === 0 || step === totalSteps;
}

/** After which steps the weights enter their mean, and after which they are validated. */
export function dueSteps(
  { train: { averageFrom, validateEvery } }: Recipe,
  { stepsPerEpoch, totalSteps }: Pick<StepPlan, "stepsPerEpoch" | "totalSteps">,
  validationRowCount: number,
): Record<"averages" | "validates", (step: number) => boolean> {
  const isAverageDue = dueAfter(stepsPerEpoch / AVERAGES_PER_EPOCH, totalSteps);
  const isValidated = validationRowCount > 0 && validateEvery > 0;
  return {
    averages: averageFrom < 1 ? (step) => isAverageDue(step) && step > averageFrom * totalSteps : never,
    validates: isValidated ? dueAfter(validateEvery * stepsPerEpoch, totalSteps) : never,
  };
}
