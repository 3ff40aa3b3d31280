import { createRandom } from "../base/random.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { type Fold, foldsBySentence } from "../data/folds.ts";
import { vectorsOf } from "./model.ts";
import { countRows } from "./number-rows.ts";
import { logSumExp, scoreRow } from "./solver.ts";
import { fitRows, type LabelledRows, type LinearSettings } from "./train.ts";

/** The settings whose best values differ most between sets of data. */
export type Choice = Pick<LinearSettings, "groupWeights" | "minRows" | "l2">;

/** How well a choice does on rows that it was not trained on. */
export interface TriedChoice extends Choice {
  /** Micro F1 (0..1) of the most probable labels. */
  microF1: number;
  /** Mean of −log P of the gold labels. */
  loss: number;
}

export interface LinearChoice {
  best: Choice;
  /** In the order they were tried; empty when there are too few sentences to hold any out. */
  tried: TriedChoice[];
  /** Rows that each was scored on. */
  heldRows: number;
}

const LEAST_FOLDS = 3;
/** Rows of a fold at most. */
const FOLD_ROWS = 4000;
/** Folds are scored until they have this number of rows: more would seldom change the choice, and take as long as the training. */
const ENOUGH_HELD_ROWS = 3000;
/** Rows that a choice is trained on at most. */
const MAX_TRAIN_ROWS = 9000;
/** Passes over the rows while choosing: more of them hardly change the scores. */
const CHOOSING_EPOCHS = 3;

/**
 * Names that recur tell the relation and others mislead, and so do n-grams of a single row: which it is differs between sets of data, by up
 * to fifteen points of F1 (docs/linear.md).
 */
const STRONG_NAMES = { head: 3, tail: 3, pair: 4 };
/** Regularisations that are tried, as factors on the default. */
const L2_FACTORS = [0.4, 2.5];

/**
 * Chooses settings on held-out rows, grouped by sentence: the n-grams that count by micro F1, then the regularisation by the likelihood, which
 * it moves more than F1. Of equal ones the first is chosen. The same rows and seed give the same choice.
 */
export async function chooseSettings(
  examples: readonly Example[],
  labels: Pick<LabelSet, "labels" | "noRelation">,
  rows: LabelledRows,
  settings: LinearSettings,
): Promise<LinearChoice> {
  const { groupWeights, minRows, l2 } = settings;
  const folds = foldsToScore(examples, settings.seed);
  const heldRows = folds.reduce((sum, { held }) => sum + held.length, 0);
  const tried: TriedChoice[] = [];
  if (folds.length === 0) return { best: { groupWeights, minRows, l2 }, tried, heldRows };
  const none = labels.noRelation === null ? -1 : labels.labels.indexOf(labels.noRelation);
  const score = async (choice: Choice): Promise<TriedChoice> => {
    // A signal is heard and told in between.
    await new Promise(setImmediate);
    const scored = scoreChoice(rows, folds, { ...settings, ...choice, maxEpochs: CHOOSING_EPOCHS }, none);
    const one = { ...choice, ...scored };
    tried.push(one);
    return one;
  };
  let best = await score({ groupWeights, minRows, l2 });
  const keepHigherF1 = (one: TriedChoice) => {
    if (one.microF1 > best.microF1) best = one;
  };
  keepHigherF1(await score({ groupWeights: { ...groupWeights, ...STRONG_NAMES }, minRows, l2 }));
  if (hasRoomForRare(rows, folds[0], settings))
    keepHigherF1(await score({ groupWeights: best.groupWeights, minRows: 1, l2 }));
  for (const factor of L2_FACTORS) {
    const one = await score({
      groupWeights: best.groupWeights,
      minRows: best.minRows,
      l2: Number((factor * l2).toPrecision(6)),
    });
    if (one.loss < best.loss) best = one;
  }
  return { best: { groupWeights: best.groupWeights, minRows: best.minRows, l2: best.l2 }, tried, heldRows };
}

/** Whether n-grams of a single row would be trained: the more frequent ones come first. */
function hasRoomForRare({ numbered }: LabelledRows, { train }: Fold, settings: LinearSettings): boolean {
  const { minRows, maxTrainedFeatures } = settings;
  const isFrequent = (count: number) => count >= minRows;
  return minRows > 1 && countRows(numbered, train).filter(isFrequent).length < maxTrainedFeatures;
}

/** Folds by sentence that have enough held-out rows together, with a bounded number of rows to train on; none for fewer sentences than folds. */
function foldsToScore(examples: readonly Example[], seed: number): Fold[] {
  const sentences = new Set(examples.map(({ sentence }) => sentence)).size;
  const count = Math.max(LEAST_FOLDS, Math.ceil(examples.length / FOLD_ROWS));
  // Many rows of few sentences: no fold would be as small as that.
  if (sentences < count) return [];
  const chosen: Fold[] = [];
  let heldRows = 0;
  for (const { train, held } of foldsBySentence(examples, count, seed)) {
    if (heldRows >= ENOUGH_HELD_ROWS) break;
    const some = train.length <= MAX_TRAIN_ROWS ? train : createRandom(seed).shuffle(train).slice(0, MAX_TRAIN_ROWS);
    chosen.push({ train: some, held });
    heldRows += held.length;
  }
  return chosen;
}

function scoreChoice(rows: LabelledRows, folds: readonly Fold[], settings: LinearSettings, none: number) {
  const { targets, labels, numbered } = rows;
  const counts = { hits: 0, predicted: 0, gold: 0 };
  let loss = 0;
  let count = 0;
  const scores = new Float64Array(labels);
  for (const { train, held } of folds) {
    const { featureOf, weights } = fitRows(rows, train, settings);
    const own = held.map((place) => numbered.rows[place]);
    const vectors = vectorsOf(own, featureOf, settings.groupWeights);
    for (const [row, place] of held.entries()) {
      scoreRow(vectors, row, weights, scores);
      const target = targets.subarray(place * labels, (place + 1) * labels);
      const best = scores.indexOf(scores.reduce((a, b) => Math.max(a, b)));
      for (let label = 0; label < labels; label++) {
        loss -= target[label] * scores[label];
        if (label !== none && target[label] > 0) counts.gold++;
      }
      loss += logSumExp(scores);
      if (best === none) continue;
      counts.predicted++;
      if (target[best] > 0) counts.hits++;
    }
    count += held.length;
  }
  const { hits, predicted, gold } = counts;
  return { microF1: hits === 0 ? 0 : (2 * hits) / (predicted + gold), loss: loss / count };
}
