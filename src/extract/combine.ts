import type { LabelSet } from "../data/example.ts";

export interface Prediction {
  relation: string;
  /** Share of the probability among all labels, 0..1. */
  probability: number;
}

/** How relations are chosen from label probabilities. */
export interface RelationChoice {
  /** Factor on the probability of "no relation" before choosing. */
  noRelationWeight: number;
  /** Give a further relation when its probability is at least this share of the best one's; 1 gives one relation. */
  furtherRelations: number;
}

/**
 * Averages P(r | head, tail) with P(inverse of r | tail, head). A label without a declared inverse keeps its own probability. The result
 * adds up to 1.
 */
export function combineDirections(own: Float64Array, mirrored: Float64Array, labels: LabelSet): Float64Array {
  const indexOf = new Map(labels.labels.map((label, i) => [label, i]));
  const combined = own.map((probability, i) => {
    const label = labels.labels[i];
    const inverse = label === labels.noRelation ? label : labels.inverses.get(label);
    const j = inverse === undefined ? undefined : indexOf.get(inverse);
    return j === undefined ? probability : (probability + mirrored[j]) / 2;
  });
  return normalised(combined);
}

/**
 * The relations chosen by these probabilities; at least one, so every example has an answer. The weight of "no relation" decides the choice, not
 * the probabilities that are returned.
 */
export function chooseRelations(
  probabilities: Float64Array,
  labels: LabelSet,
  choice: RelationChoice,
): { predictions: Prediction[]; probabilities: Float64Array } {
  const none = labels.noRelation === null ? -1 : labels.labels.indexOf(labels.noRelation);
  const known = normalised(probabilities);
  const weighted = known.map((p, i) => (i === none ? p * choice.noRelationWeight : p));
  const order = Array.from(weighted.keys()).sort((a, b) => weighted[b] - weighted[a] || a - b);
  const [best] = order;
  const holds = (i: number) => i !== none && weighted[i] >= choice.furtherRelations * weighted[best];
  const further = best === none || choice.furtherRelations >= 1 ? [] : order.slice(1).filter(holds);
  return {
    predictions: [best, ...further].map((i) => ({ relation: labels.labels[i], probability: known[i] })),
    probabilities: known,
  };
}

function normalised(values: Float64Array): Float64Array {
  const total = values.reduce((sum, value) => sum + value, 0);
  return values.map((value) => value / total);
}
