import type { Example, LabelSet } from "../data/example.ts";
import { type LabelMask, maskedProbabilities } from "../data/label-types.ts";
import { type Mixture, mixProbabilities } from "../linear/mixture.ts";
import { type LinearModel, linearProbabilities } from "../linear/model.ts";
import { type Scale, scaledProbabilities } from "../linear/scale.ts";
import { chooseRelations, type Prediction, type RelationChoice } from "./combine.ts";

/** A linear companion over the same labels, and how its probabilities are mixed with those of the language model. */
export interface MixedCompanion {
  model: LinearModel;
  mixture: Mixture;
}

/** How label probabilities of a language model become relations with calibrated probabilities. */
export interface Decoding {
  labels: LabelSet;
  choice: RelationChoice;
  /** Calibrates the probabilities that are shown; null shows them as they are. */
  scale: Scale | null;
  /** Null for the language model alone. */
  companion: MixedCompanion | null;
}

/**
 * The relations of examples by the language model's label probabilities, with calibrated probabilities of all labels. The scale
 * decides no choice: the weight of "no relation" was fitted without it.
 */
export function decodeProbabilities(
  { labels, choice, scale, companion }: Decoding,
  examples: readonly Example[],
  own: readonly Float64Array[],
  masks: readonly (LabelMask | null)[] = [],
): { predictions: Prediction[]; probabilities: Float64Array }[] {
  const linear = companion ? linearProbabilities(companion.model, examples) : [];
  const none = labels.noRelation === null ? -1 : labels.labels.indexOf(labels.noRelation);
  return own.map((probabilities, i) => {
    const mask = masks[i] ?? null;
    const allowed = (values: Float64Array) => (mask ? maskedProbabilities(values, mask) : values);
    const used = companion ? mixProbabilities(probabilities, linear[i], companion.mixture) : probabilities;
    const chosen = chooseRelations(allowed(used), labels, choice);
    if (scale === null) return chosen;
    const shown = allowed(scaledProbabilities(used, none, scale));
    const predictions = chosen.predictions.map(({ relation }) => {
      return { relation, probability: shown[labels.labels.indexOf(relation)] };
    });
    return { predictions, probabilities: shown };
  });
}
