import type { Example } from "../data/example.ts";
import { chooseRelations, type RelationChoice } from "./combine.ts";
import type { Extraction, Extractor, Unextracted } from "./extractor.ts";

/**
 * The mean of label distributions, one for each model; they add up to 1. Probabilities are averaged, not their logarithms: the mean is the one
 * distribution that a student of all models learns (the sum of its cross-entropies with each is that with the mean, up to a factor), and a
 * model that is sure of a mistake cannot veto the others.
 */
export function meanDistribution(distributions: readonly ArrayLike<number>[]): Float64Array {
  const mean = new Float64Array(distributions[0].length);
  for (const probabilities of distributions) for (const i of mean.keys()) mean[i] += probabilities[i];
  const sum = mean.reduce((total, value) => total + value, 0);
  return mean.map((value) => value / sum);
}

/** The geometric mean of factors on the probability of "no relation". */
export function meanWeight(weights: readonly number[]): number {
  return Math.exp(weights.reduce((sum, weight) => sum + Math.log(weight), 0) / weights.length);
}

/** For each label of the first list its place in the second one. */
export function placesOf(labels: readonly string[], others: readonly string[]): number[] {
  const known = new Map(others.map((label, i) => [label, i]));
  return labels.map((label) => known.get(label) as number);
}

/**
 * Several extractors as one: each answers as it decodes (directions, companion), their label probabilities are averaged, and relations are
 * chosen with the geometric mean of their weights of "no relation" and the first one's furtherRelations. They must have the same labels, in any order, and the method "labels". An example
 * that one of them cannot use is a problem.
 */
export function ensembleExtractor(members: readonly Extractor[]): Extractor {
  const [first] = members;
  const { labels } = first;
  const noRelationWeight = meanWeight(members.map(({ settings }) => settings.noRelationWeight));
  const choice: RelationChoice = { noRelationWeight, furtherRelations: first.settings.furtherRelations };
  const places = members.map((member) => placesOf(labels.labels, member.labels.labels));
  const averaged = (parts: readonly Extraction[]): Extraction => {
    const inOrder = (key: "probabilities" | "modelProbabilities") =>
      meanDistribution(parts.map((part, m) => places[m].map((place) => part[key][place])));
    return {
      ...chooseRelations(inOrder("probabilities"), labels, choice),
      modelProbabilities: inOrder("modelProbabilities"),
      truncated: parts.some(({ truncated }) => truncated),
      generated: null,
    };
  };
  /** One list for each member. */
  const answers = async <T>(ask: (member: Extractor) => Promise<T[]>): Promise<T[][]> => {
    const all: T[][] = [];
    for (const member of members) all.push(await ask(member));
    return all;
  };
  const normalizations = new Set(members.map(({ normalize }) => normalize));
  const arithmetics = new Set(members.flatMap(({ arithmetic }) => arithmetic ?? []));
  return {
    labels,
    settings: { ...first.settings, ...choice },
    ...(arithmetics.size > 0 ? { arithmetic: [...arithmetics].join("; ") } : {}),
    // Each member normalises what it reads; where they differ, nothing is done before.
    ...(normalizations.size === 1 ? { normalize: first.normalize } : {}),
    mixture: null,
    async extract(examples) {
      const all = await answers((member) => member.extract(examples));
      return examples.map((_, i) => averaged(all.map((one) => one[i])));
    },
    async extractEach(examples: readonly Example[]) {
      const all = await answers((member) => member.extractEach(examples));
      return examples.map((_, i) => {
        const parts = all.map((one) => one[i]);
        const problem = parts.find((part): part is Unextracted => "problem" in part);
        return problem ?? averaged(parts as Extraction[]);
      });
    },
  };
}
