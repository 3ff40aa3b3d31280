import type { Example } from "../data/example.ts";
import type { AnnotatedSentence } from "../data/mentions-file.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import type { Extractor } from "../extract/extractor.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";
import { calibrationWith, saveCalibration } from "./calibration.ts";
import { saveCompanion } from "./companion.ts";
import type { RunCompanion } from "./companion-read.ts";
import { type CompanionValidation, validateDecoding } from "./companion-scores.ts";
import { fitMentions } from "./fit-mentions.ts";
import { type OpenedRecipe, saveTrained } from "./open.ts";
import { chosenSentences, scorePairs } from "./pair-scores.ts";
import type { RunFolder } from "./run-folder.ts";
import type { TrainingProgress } from "./training-state.ts";

/** Told of the pairs that have been asked to fit the precision of probabilities. */
export type OnPairs = (done: number, total: number) => void;

/** F1 on the validation rows after a step, as fractions. */
export interface Validation {
  step: number;
  paperF1: number;
  microF1: number;
  rows: number;
  seconds: number;
  /** By the recipe's train.keepBest. */
  isBest: boolean;
}

/** Validates the weights as they are after a step and notes in `progress` whether they are the best so far; with the probabilities of each row. */
export async function validateWeights(
  bench: Pick<OpenedRecipe, "extractor" | "recipe">,
  examples: readonly Example[],
  step: number,
  progress: TrainingProgress,
): Promise<Validation & { probabilities: Float64Array[] }> {
  const started = performance.now();
  const { metrics, extractions } = await evaluate(bench.extractor, examples, { bootstrap: null });
  const paperF1 = metrics.conventions.paper.f1;
  const microF1 = metrics.conventions.micro.f1;
  const metric = bench.recipe.train.keepBest === "paper" ? paperF1 : microF1;
  const isBest = progress.best === null || metric > progress.best.metric;
  if (isBest) progress.best = { metric, step };
  progress.waited = isBest ? 0 : progress.waited + 1;
  const seconds = (performance.now() - started) / 1000;
  const probabilities = extractions.map(({ modelProbabilities }) => modelProbabilities);
  return { step, paperF1, microF1, rows: examples.length, seconds, isBest, probabilities };
}

/**
 * Saves the weights as they are as the result of a run, with what is fitted on the validation rows: calibration and companion. `known` are the
 * probabilities of the validation rows, where the weights have been validated, `annotated` their entities that no row names. Returns how the companion is mixed in.
 */
export async function saveResult(
  bench: OpenedRecipe,
  folder: RunFolder,
  validated: readonly Example[],
  companion: RunCompanion | null,
  known: readonly Float64Array[] | null,
  annotated: readonly AnnotatedSentence[] = [],
  /** Called while the pairs of their sentences are asked. */
  onPairs?: OnPairs,
): Promise<CompanionValidation | null> {
  const { recipe, extractor } = bench;
  let mixture: CompanionValidation | null = null;
  if (validated.length > 0 && recipe.decode.method === "labels") {
    const probabilities = known ?? (await modelProbabilitiesOf(extractor, validated));
    const found = validateDecoding(companion?.model ?? null, recipe, extractor.labels, validated, probabilities);
    mixture = found.companion;
    const sentences = chosenSentences(validated, annotated, extractor.labels, recipe.seed);
    const pairs = await scorePairs(extractor, sentences, found.decoding, onPairs);
    const mentions = bench.mentions ? await fitMentions(bench.mentions, validated) : null;
    await saveCalibration(folder, calibrationWith(found.calibration, pairs, mentions));
  }
  if (companion) await saveCompanion(folder, { ...companion, validation: mixture });
  await saveTrained(bench, folder);
  return mixture;
}

async function modelProbabilitiesOf(extractor: Extractor, examples: readonly Example[]): Promise<Float64Array[]> {
  const probabilities: Float64Array[] = [];
  for await (const window of windowsOf(examples, DEFAULT_WINDOW_ROWS)) {
    for (const { modelProbabilities } of await extractor.extract(window)) probabilities.push(modelProbabilities);
  }
  return probabilities;
}
