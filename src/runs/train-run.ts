import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { writeFileAtomic } from "../base/files.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Example } from "../data/example.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type EncodedExample, planSteps } from "../train/batches.ts";
import { type TrainStep, train } from "../train/train.ts";
import { createWeightAverage } from "../train/weight-average.ts";
import type { OpenedRecipe } from "./open.ts";
import { saveTrained } from "./open.ts";
import { appendLog, type RunFolder, removeLeftovers, truncateLog } from "./run-folder.ts";
import {
  loadTrainingState,
  loadWeightValues,
  saveTrainingState,
  saveWeightValues,
  type TrainingOrigin,
  type TrainingProgress,
} from "./training-state.ts";

/** How often an epoch's weights are taken into their mean. */
const AVERAGES_PER_EPOCH = 16;

/** What the caller of a training run hears. */
export type RunEvent =
  | { kind: "start"; totalSteps: number; stepsPerEpoch: number; examples: number; resumedAt: number; truncated: number }
  | ({ kind: "step" } & TrainStep)
  | {
      kind: "validation";
      step: number;
      paperF1: number;
      microF1: number;
      rows: number;
      seconds: number;
      isBest: boolean;
    }
  | { kind: "checkpoint"; step: number }
  | { kind: "stopped"; step: number }
  | { kind: "end"; steps: number; best: TrainingProgress["best"]; seconds: number };

/** The training rows in ids; a row with several relations is one joined answer or one row each, as the recipe says. */
export function encodeExamples(
  bench: Pick<OpenedRecipe, "recipe" | "renderer">,
  examples: readonly Example[],
): { encoded: EncodedExample[]; truncated: number } {
  const encoded: EncodedExample[] = [];
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

/** The rows to validate on while training: all, or a seeded choice that stays the same for the whole run. */
function validationRows(recipe: Recipe, examples: readonly Example[]): readonly Example[] {
  const wanted = recipe.train.validationRows;
  if (wanted === 0 || wanted >= examples.length) return examples;
  const order = createRandom(mixSeed(recipe.seed, 0x7a11d)).shuffle(Array.from(examples.keys()));
  return order
    .slice(0, wanted)
    .sort((a, b) => a - b)
    .map((i) => examples[i]);
}

/** What decides a run's numbers beside the weights it starts from; where files lie and how often is saved does not. */
function originOf(recipe: Recipe, encoded: readonly EncodedExample[], validated: readonly Example[]): TrainingOrigin {
  const { model, data, train, ...rest } = recipe;
  const { path: _base, tokenizer: _tokenizer, ...sizes } = model;
  const { checkpointSeconds: _seconds, ...settings } = train;
  const numbers = { ...rest, sizes, settings, format: data.format };
  return { recipe: digest([numbers]), rows: digest([...encoded.map(idsOf), ...validated]) };
}

function idsOf({ promptIds, answerIds }: EncodedExample): number[][] {
  return [Array.from(promptIds), Array.from(answerIds)];
}

function digest(values: readonly unknown[]): string {
  const hash = createHash("sha256");
  for (const value of values) hash.update(`${JSON.stringify(value)}\n`);
  return hash.digest("hex");
}

/**
 * Trains a run from its last checkpoint (or from the start): yields every step, validation and checkpoint. Everything that decides the
 * numbers follows from recipe and seed, so a run that was killed and resumed ends with the same weights as one that was not.
 * When `signal` aborts, the step in progress (and its validation) is finished, a checkpoint is saved, and the last event is "stopped".
 */
export async function* trainRun(
  bench: OpenedRecipe,
  folder: RunFolder,
  trainExamples: readonly Example[],
  validExamples: readonly Example[],
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<RunEvent, void, void> {
  const { recipe, backend, model, groups, trainable } = bench;
  const { encoded, truncated } = encodeExamples(bench, trainExamples);
  const plan = planSteps(encoded.length, recipe.train, recipe.seed);
  const validated = validationRows(recipe, validExamples);
  const { validateEvery } = recipe.train;
  // Never rounded down to "not at all".
  const stepsPerValidation = validateEvery > 0 ? Math.max(1, Math.round(validateEvery * plan.stepsPerEpoch)) : 0;
  const origin = originOf(recipe, encoded, validated);
  await removeLeftovers(folder);
  const saved = await loadTrainingState(backend, trainable, origin, folder.state);
  const progress = saved?.progress ?? { step: 0, best: null, averaged: 0 };
  const average = createWeightAverage(backend, trainable, { count: progress.averaged, values: saved?.average ?? [] });
  const stepsPerAverage = Math.max(1, Math.round(plan.stepsPerEpoch / AVERAGES_PER_EPOCH));
  const averageFrom = recipe.train.averageFrom * plan.totalSteps;
  await truncateLog(folder, progress.step);
  const { stepsPerEpoch, totalSteps } = plan;
  yield { kind: "start", totalSteps, stepsPerEpoch, examples: encoded.length, resumedAt: progress.step, truncated };
  const started = performance.now();
  let lastSaved = performance.now();
  for await (const step of train(model, groups, encoded, plan, recipe.train, recipe.seed, progress.step)) {
    progress.step = step.step;
    await appendLog(folder, { kind: "step", ...step });
    yield { kind: "step", ...step };
    const isLast = step.step === totalSteps;
    if (recipe.train.averageFrom < 1 && step.step > averageFrom && (step.step % stepsPerAverage === 0 || isLast)) {
      await average.add();
      progress.averaged = average.count;
    }
    const validates =
      validated.length > 0 && stepsPerValidation > 0 && (step.step % stepsPerValidation === 0 || isLast);
    if (validates) {
      const validateAndKeep = async () => {
        const result = await validate(bench, validated, step.step, progress);
        if (result.isBest) await saveWeightValues(backend, trainable, folder.best);
        return result;
      };
      const validation = average.count > 0 ? await average.during(validateAndKeep) : await validateAndKeep();
      await appendLog(folder, validation);
      yield validation;
    }
    const stops = !isLast && (options.signal?.aborted ?? false);
    const isDue = performance.now() - lastSaved > recipe.train.checkpointSeconds * 1000;
    if (validates || isLast || stops || isDue) {
      await saveTrainingState(backend, trainable, progress, origin, folder.state, average.values);
      lastSaved = performance.now();
      yield { kind: "checkpoint", step: step.step };
    }
    if (stops) {
      yield { kind: "stopped", step: step.step };
      return;
    }
  }
  const isBestKept = progress.best !== null && existsSync(folder.best);
  if (isBestKept) await loadWeightValues(backend, trainable, folder.best);
  if (average.count > 0 && !isBestKept) await average.during(() => saveTrained(bench, folder));
  else await saveTrained(bench, folder);
  const seconds = (performance.now() - started) / 1000;
  const peakResidentBytes = process.resourceUsage().maxRSS * 1024;
  const done = { steps: progress.step, best: progress.best, peakResidentBytes };
  await writeFileAtomic(folder.done, `${JSON.stringify(done)}\n`);
  yield { kind: "end", steps: progress.step, best: progress.best, seconds };
}

async function validate(bench: OpenedRecipe, examples: readonly Example[], step: number, progress: TrainingProgress) {
  const started = performance.now();
  const { metrics } = await evaluate(bench.extractor, examples, { bootstrap: null });
  const paperF1 = metrics.conventions.paper.f1;
  const microF1 = metrics.conventions.micro.f1;
  const metric = bench.recipe.train.keepBest === "paper" ? paperF1 : microF1;
  const isBest = progress.best === null || metric > progress.best.metric;
  if (isBest) progress.best = { metric, step };
  const seconds = (performance.now() - started) / 1000;
  return { kind: "validation" as const, step, paperF1, microF1, rows: examples.length, seconds, isBest };
}
