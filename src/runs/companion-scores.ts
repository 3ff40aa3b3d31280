import type { Example, LabelSet } from "../data/example.ts";
import { type Certainty, certaintyOf } from "../evaluate/certainty.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import type { Reference } from "../evaluate/references.ts";
import type { TallyScores } from "../evaluate/tally.ts";
import type { RelationChoice } from "../extract/combine.ts";
import { type Decoding, decodeProbabilities } from "../extract/decoding.ts";
import type { Extraction } from "../extract/extractor.ts";
import { fitMixture, type Mixture, mixProbabilities } from "../linear/mixture.ts";
import { type LinearModel, linearProbabilities } from "../linear/model.ts";
import { fitScale } from "../linear/scale.ts";
import type { DecodeSettings } from "../recipe/answer-schema.ts";
import type { Recipe } from "../recipe/schema.ts";
import { fitNoRelationWeight, precisionOf, rowsOf, type ValidationF1, validationF1 } from "./calibration.ts";
import { type Calibration, choiceOf, mixtureOf, scaleOf } from "./calibration-read.ts";

/** What the validation rows say of a mixture. */
export interface CompanionValidation {
  rows: number;
  /** Fitted on these rows. */
  mixture: Mixture;
  linear: ValidationF1;
  model: ValidationF1;
  mixed: ValidationF1;
  /** Whether the mixture has a higher F1 than the language model alone, by the recipe's train.keepBest. */
  gains: boolean;
}

/** The companion's own answer is its most probable label. */
const ONE_LABEL: RelationChoice = { noRelationWeight: 1, furtherRelations: 1 };

/** F1 of a companion alone. */
export function linearF1(model: LinearModel, labels: LabelSet, examples: readonly Example[]): ValidationF1 {
  return validationF1(rowsOf(examples, labels, ONE_LABEL, linearProbabilities(model, examples)), labels);
}

/** What validation rows say of how a run decodes. */
export interface DecodingValidation {
  companion: CompanionValidation | null;
  calibration: Calibration;
  /** The decoding that follows. */
  decoding: Decoding;
  /** How far its probabilities can be believed on these rows. */
  certainty: Certainty;
}

/**
 * Finds out on validation rows how a run decodes best, of which `own` are the probabilities by the language model alone: fits the mixture with a
 * companion and whether it gains, the weight of "no relation" for `decode.noRelationWeight: auto`, and the scale of shown probabilities. Throws a UserError for no rows.
 */
export function validateDecoding(
  model: LinearModel | null,
  { decode, train }: Pick<Recipe, "decode" | "train">,
  labels: LabelSet,
  examples: readonly Example[],
  own: readonly Float64Array[],
): DecodingValidation {
  const metric = train.keepBest === "paper" ? "paperF1" : "microF1";
  const weightOf = (probabilities: readonly Float64Array[]) =>
    fitNoRelationWeight(examples, labels, decode.furtherRelations, metric, probabilities);
  const places = new Map(labels.labels.map((label, place) => [label, place]));
  const golds = examples.map(({ relations = [] }) => [...new Set(relations)].map((one) => places.get(one) as number));
  const none = labels.noRelation === null ? -1 : (places.get(labels.noRelation) as number);
  const scaleFor = (probabilities: readonly Float64Array[]) =>
    fitScale(
      probabilities.map((one, i) => ({ probabilities: one, gold: golds[i] })),
      none,
    );
  const linear = model ? linearProbabilities(model, examples) : null;
  const mixture = linear && fitMixture(own.map((a, i) => ({ a, b: linear[i], gold: golds[i] })));
  const mixedBy = (by: Mixture) => own.map((a, i) => mixProbabilities(a, (linear as Float64Array[])[i], by));
  const mixed = mixture && mixedBy(mixture);
  const fitted: Calibration = {
    rows: examples.length,
    noRelationWeight: { model: weightOf(own), mixed: mixed && weightOf(mixed) },
  };
  const f1Of = (choice: RelationChoice, probabilities: readonly Float64Array[]) =>
    validationF1(rowsOf(examples, labels, choice, probabilities), labels);
  let companion: CompanionValidation | null = null;
  if (linear && mixture && mixed) {
    const scores = {
      linear: f1Of(ONE_LABEL, linear),
      model: f1Of(choiceOf(decode, fitted, false), own),
      mixed: f1Of(choiceOf(decode, fitted, true), mixed),
    };
    companion = { rows: examples.length, mixture, ...scores, gains: scores.mixed[metric] > scores.model[metric] };
  }
  const used = mixtureOf({ validation: companion }, decode);
  // A weight that the recipe fixes; else the fitted one, also where it is not used now.
  const known = used ?? mixture;
  const calibration: Calibration = {
    ...fitted,
    scale: { model: scaleFor(own), mixed: known && { ...scaleFor(mixedBy(known)), weight: known.weight } },
  };
  const decoding: Decoding = {
    labels,
    choice: choiceOf(decode, calibration, used !== null),
    scale: scaleOf(calibration, used),
    companion: used && model ? { model, mixture: used } : null,
  };
  const decoded = decodeProbabilities(decoding, examples, own);
  const rows = examples.map(({ relations = [] }, i) => ({ gold: relations, predictions: decoded[i].predictions }));
  return {
    companion,
    calibration: { ...calibration, precision: precisionOf(examples, labels, decoded) },
    decoding,
    certainty: certaintyOf(rows, labels.noRelation),
  };
}

/** The scores of a run's parts on rows that were evaluated. */
export interface CompanionScores {
  /** How the evaluation mixed; null for the language model alone. */
  mixture: Mixture | null;
  /** The companion alone, one label a row. */
  linear: TallyScores;
  /** The language model alone. */
  model: TallyScores;
  /** The mixture of the evaluation, else the fitted one; null where there is none. */
  mixed: TallyScores | null;
}

/** How relations are chosen from the language model's probabilities, and from the mixture's. */
export interface DecodingChoices extends Pick<DecodeSettings, "method"> {
  model: RelationChoice;
  mixed: RelationChoice;
}

/** Scores the companion, the language model and their mixture on rows that the run has extracted. */
export function companionScores(
  { model, validation }: { model: LinearModel; validation: CompanionValidation | null },
  labels: LabelSet,
  choices: DecodingChoices,
  mixture: Mixture | null,
  evaluated: { examples: readonly Example[]; extractions: readonly Extraction[]; metrics: TallyScores },
): CompanionScores {
  const { examples, extractions, metrics } = evaluated;
  const linear = linearProbabilities(model, examples);
  const own = extractions.map(({ modelProbabilities }) => modelProbabilities);
  const scoresOf = (by: RelationChoice, probabilities: readonly Float64Array[]): TallyScores => {
    const { conventions, macro } = computeMetrics(rowsOf(examples, labels, by, probabilities), labels, {
      bootstrap: null,
    });
    return { conventions, macro };
  };
  const evaluatedScores = { conventions: metrics.conventions, macro: metrics.macro };
  const fitted = choices.method === "generate" ? null : (validation?.mixture ?? null);
  const mixed =
    mixture !== null
      ? evaluatedScores
      : fitted &&
        scoresOf(
          choices.mixed,
          own.map((a, i) => mixProbabilities(a, linear[i], fitted)),
        );
  return {
    mixture,
    linear: scoresOf(ONE_LABEL, linear),
    model: mixture === null ? evaluatedScores : scoresOf(choices.model, own),
    mixed,
  };
}

/** The companion's F1, and that of the run without it where it is mixed in, with it where it is not. */
export function companionReferences({ mixture, linear, model, mixed }: CompanionScores): Reference[] {
  const references = [{ name: "linear floor", f1: f1ByConvention(linear) }];
  if (mixture !== null) references.push({ name: "model alone", f1: f1ByConvention(model) });
  else if (mixed !== null) references.push({ name: "mixed", f1: f1ByConvention(mixed) });
  return references;
}

function f1ByConvention({ conventions, macro }: TallyScores): Reference["f1"] {
  const f1 = Object.fromEntries(Object.entries(conventions).map(([name, score]) => [name, score.f1]));
  return { ...f1, macro: macro.f1 };
}
