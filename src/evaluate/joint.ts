import { createRandom } from "../base/random.ts";
import type { Interval } from "./bootstrap.ts";

/** A relation between two texts of a sentence. */
export interface JointTriple {
  head: string;
  relation: string;
  tail: string;
}

/** A sentence with what rows say of it and what a run found with nothing given. */
export interface JointRow {
  sentence: string;
  gold: readonly JointTriple[];
  predicted: readonly JointTriple[];
  goldMentions: readonly string[];
  mentions: readonly string[];
}

/** Precision, recall and F1 as fractions, from counts of distinct items of each sentence. */
export interface JointScore {
  precision: number;
  recall: number;
  f1: number;
  hits: number;
  predicted: number;
  gold: number;
  /** 95 % of the F1 by a bootstrap over sentences. */
  interval: Interval;
}

export interface JointMetrics {
  sentences: number;
  /** (head, relation, tail) where "no relation" is a label like the others: a pair that no row has is wrong, whatever its label. */
  triples: JointScore;
  /** Without the triples of "no relation", on both sides. */
  relations: JointScore;
  /** Texts of entities, each once in a sentence. */
  mentions: JointScore;
}

const DRAWS = 1000;
const SEED = 1;
const tripleKey = ({ head, relation, tail }: JointTriple) => JSON.stringify([head, relation, tail]);

/** Scores of extraction with nothing but sentences given. Head, relation and tail must all be equal as texts. */
export function jointMetrics(rows: readonly JointRow[], noRelation: string | null): JointMetrics {
  const isRelation = ({ relation }: JointTriple) => relation !== noRelation;
  const scoreOf = (itemsOf: (row: JointRow) => [string[], string[]]) =>
    scoreOfCounts(
      rows.map((row) => {
        const [gold, predicted] = itemsOf(row).map((items) => new Set(items));
        return [[...predicted].filter((item) => gold.has(item)).length, predicted.size, gold.size];
      }),
    );
  return {
    sentences: rows.length,
    triples: scoreOf(({ gold, predicted }) => [gold.map(tripleKey), predicted.map(tripleKey)]),
    relations: scoreOf(({ gold, predicted }) => [
      gold.filter(isRelation).map(tripleKey),
      predicted.filter(isRelation).map(tripleKey),
    ]),
    mentions: scoreOf(({ goldMentions, mentions }) => [[...goldMentions], [...mentions]]),
  };
}

/** Hits, predicted and gold items of a sentence. */
type Counts = readonly number[];

function f1Of(hits: number, predicted: number, gold: number): number {
  return predicted + gold === 0 ? 0 : (2 * hits) / (predicted + gold);
}

function scoreOfCounts(counts: readonly Counts[]): JointScore {
  const sumOf = (chosen: readonly Counts[]) =>
    chosen.reduce(([h, p, g], one) => [h + one[0], p + one[1], g + one[2]], [0, 0, 0]);
  const [hits, predicted, gold] = sumOf(counts);
  const random = createRandom(SEED);
  const draws = Array.from({ length: DRAWS }, () => {
    let [h, p, g] = [0, 0, 0];
    for (let i = 0; i < counts.length; i++) {
      const one = counts[random.below(counts.length)];
      h += one[0];
      p += one[1];
      g += one[2];
    }
    return f1Of(h, p, g);
  }).sort((a, b) => a - b);
  return {
    precision: predicted === 0 ? 0 : hits / predicted,
    recall: gold === 0 ? 0 : hits / gold,
    f1: f1Of(hits, predicted, gold),
    hits,
    predicted,
    gold,
    interval: { low: draws[Math.floor(0.025 * DRAWS)], high: draws[Math.ceil(0.975 * DRAWS) - 1] },
  };
}
