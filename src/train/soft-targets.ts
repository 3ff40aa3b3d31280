import type { Example, LabelSet } from "../data/example.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { DistillSettings, TrainSettings } from "../recipe/schema.ts";
import type { EncodedExample, WeightedAnswer } from "./batches.ts";

/** Shares of labels that add up to 1, by their place in the label set, and the probability that was cut off. */
export interface SoftTarget {
  shares: Map<number, number>;
  cut: number;
}

/**
 * A teacher's distribution over the labels as a target: softened by the temperature, without the labels below `leastProbability`, and
 * normalised again. The most probable label stays, whatever it has.
 */
export function softTarget(
  probabilities: ArrayLike<number>,
  { temperature, leastProbability }: Pick<DistillSettings, "temperature" | "leastProbability">,
): SoftTarget {
  const most = Math.max(...Array.from(probabilities));
  const powers = Array.from(probabilities, (p) => (p / most) ** (1 / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  const best = powers.indexOf(1);
  const kept = [...powers.keys()].filter((i) => i === best || powers[i] / sum >= leastProbability);
  const keptSum = kept.reduce((total, i) => total + powers[i], 0);
  return { shares: new Map(kept.map((i) => [i, powers[i] / keptSum])), cut: 1 - keptSum / sum };
}

/**
 * A row whose target is (1 − goldWeight) · the teacher's distribution + goldWeight · its own labels. The loss of its answers is the
 * cross-entropy between that target and the likelihood of whole answers. A row without labels has the teacher's target alone; one with
 * several has them joined in one answer or in equal shares, as `severalRelations` says.
 */
export function encodeTaught(
  renderer: Renderer,
  example: Example,
  probabilities: ArrayLike<number>,
  settings: DistillSettings,
  severalRelations: TrainSettings["severalRelations"],
): { encoded: EncodedExample; truncated: boolean; cut: number } {
  const { ids: promptIds, truncated } = renderer.renderPrompt(example);
  const gold = goldAnswers(renderer, example, severalRelations);
  const goldWeight = gold.length > 0 ? settings.goldWeight : 0;
  const { shares, cut } = softTarget(probabilities, settings);
  const answers = new Map<string, WeightedAnswer>();
  const add = (ids: readonly number[], weight: number) => {
    if (weight === 0) return;
    const key = ids.join();
    answers.set(key, { ids: Int32Array.from(ids), weight: (answers.get(key)?.weight ?? 0) + weight });
  };
  for (const ids of gold) add(ids, goldWeight / gold.length);
  for (const [label, share] of shares) {
    add(renderer.renderAnswer(example, labelAt(renderer.labels, label)), (1 - goldWeight) * share);
  }
  const all = [...answers.values()];
  const [{ ids: answerIds }] = all;
  return { encoded: { promptIds: Int32Array.from(promptIds), answerIds, answers: all }, truncated, cut };
}

function goldAnswers(renderer: Renderer, example: Example, severalRelations: string): number[][] {
  const relations = [...new Set(example.relations ?? [])];
  if (relations.length === 0) return [];
  if (severalRelations === "separate") return relations.map((label) => renderer.renderAnswer(example, label));
  return [renderer.renderExample(example).answerIds];
}

function labelAt({ labels }: LabelSet, place: number): string {
  if (place < labels.length) return labels[place];
  throw new Error(`soft target: has a label ${place}, expected one of ${labels.length}.`);
}
