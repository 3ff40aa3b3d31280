import type { Example, LabelSet } from "../data/example.ts";
import { type LabelMask, maskedProbabilities } from "../data/label-types.ts";
import { type Mixture, mixProbabilities, withTemperature } from "../linear/mixture.ts";
import { type LinearModel, linearProbabilities } from "../linear/model.ts";
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
  /** Of the language model alone: what is shown of it is calibrated. A mixture has its own. */
  temperature: number;
  /** Null for the language model alone. */
  companion: MixedCompanion | null;
}

/**
 * The relations of examples by the language model's label probabilities, with calibrated probabilities of all labels. The temperature of the language model
 * alone decides no choice: its labels keep their order, and the weight of "no relation" was fitted without it.
 */
export function decodeProbabilities(
  { labels, choice, temperature, companion }: Decoding,
  examples: readonly Example[],
  own: readonly Float64Array[],
  masks: readonly (LabelMask | null)[] = [],
): { predictions: Prediction[]; probabilities: Float64Array }[] {
  const linear = companion ? linearProbabilities(companion.model, examples) : [];
  return own.map((probabilities, i) => {
    const mask = masks[i] ?? null;
    const allowed = (values: Float64Array) => (mask ? maskedProbabilities(values, mask) : values);
    if (companion) {
      return chooseRelations(allowed(mixProbabilities(probabilities, linear[i], companion.mixture)), labels, choice);
    }
    const chosen = chooseRelations(allowed(probabilities), labels, choice);
    if (temperature === 1) return chosen;
    const shown = allowed(withTemperature(probabilities, temperature));
    const predictions = chosen.predictions.map(({ relation }) => {
      return { relation, probability: shown[labels.labels.indexOf(relation)] };
    });
    return { predictions, probabilities: shown };
  });
}
