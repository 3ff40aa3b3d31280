import { createRandom, mixSeed } from "../base/random.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { chooseSettings, type LinearChoice } from "./choose.ts";
import type { LinearModel } from "./model.ts";
import { LINEAR_DEFAULTS, labelledRows, trainOnRows } from "./train.ts";

/** A companion with what it was trained from. */
export interface TrainedCompanion {
  model: LinearModel;
  choice: LinearChoice;
  /** Rows that it was trained on. */
  rows: number;
  /** Time of choosing and training. */
  seconds: number;
}

/** Rows that a companion is trained on at most, chosen by the seed: bounds time and memory. */
const MAX_ROWS = 50_000;
/** Bounds the weights while training. */
const MAX_WEIGHTS = 40e6;
/** Bounds the file, but for sets of very many labels, which have at least LEAST_FEATURES. */
const MAX_BYTES = 5e6;
const LEAST_FEATURES = 20_000;

/**
 * Trains the linear companion of a run: chooses settings on held-out rows, then trains with them on all. The same rows and seed give the
 * same model. Throws a UserError for no rows, a row without relations, or a relation outside the set.
 */
export async function trainCompanion(
  examples: readonly Example[],
  labels: LabelSet,
  seed: number,
  maxRows = MAX_ROWS,
): Promise<TrainedCompanion> {
  const started = performance.now();
  const used = chosenRows(examples, seed, maxRows);
  const labelCount = labels.labels.length;
  const settings = {
    ...LINEAR_DEFAULTS,
    maxTrainedFeatures: Math.min(LINEAR_DEFAULTS.maxTrainedFeatures, Math.floor(MAX_WEIGHTS / labelCount)),
    maxFeatures: Math.max(LEAST_FEATURES, Math.floor(MAX_BYTES / (8 + labelCount))),
    seed,
  };
  const rows = labelledRows(used, labels.labels, settings);
  const choice = await chooseSettings(used, labels, rows, settings);
  const model = trainOnRows(rows, labels.labels, { ...settings, ...choice.best });
  return { model, choice, rows: used.length, seconds: (performance.now() - started) / 1000 };
}

function chosenRows(examples: readonly Example[], seed: number, maxRows: number): readonly Example[] {
  if (examples.length <= maxRows) return examples;
  const order = createRandom(mixSeed(seed, 0x11ea2)).shuffle(Array.from(examples.keys()));
  return order
    .slice(0, maxRows)
    .sort((a, b) => a - b)
    .map((place) => examples[place]);
}
