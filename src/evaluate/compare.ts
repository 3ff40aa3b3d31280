import { createRandom, mixSeed } from "../base/random.ts";
import { type BootstrapOptions, bootstrapSettings, type Interval } from "./bootstrap.ts";
import { computeMetrics, isExact, type Metrics } from "./metrics.ts";
import {
  COMPARED,
  type Compared,
  type DrawnDifference,
  drawnDifference,
  type F1Draws,
  meanDraws,
  pairedDraws,
} from "./paired-bootstrap.ts";
import type { ScoredRow, ScoringLabels } from "./rows.ts";

/** Draws of a comparison. */
const COMPARISON_DRAWS = 10_000;

/** F1 of two sides and b − a, as fractions; a side of several runs is their mean. */
export interface Difference extends DrawnDifference {
  a: number;
  b: number;
  difference: number;
  /** Each run's own F1. */
  each: { a: number[]; b: number[] };
  /** The same when runs are drawn with replacement too, as if seeds were chosen anew; null when each side has one run. */
  withSeeds: DrawnDifference | null;
}

export interface RelationDifference {
  relation: string;
  isNoRelation: boolean;
  /** Rows whose gold holds the relation. */
  support: number;
  a: number;
  b: number;
  difference: number;
  interval: Interval;
}

/** A row is right when the set of its labels is; of several runs, when more than half of them are right. */
export type RowChange = "right-to-wrong" | "wrong-to-right" | "wrong-to-wrong";

export interface ChangedRow {
  /** Its place in the rows. */
  place: number;
  change: RowChange;
  /** The answer of every run. */
  a: readonly (readonly string[])[];
  b: readonly (readonly string[])[];
}

export interface Comparison {
  f1: Record<Compared, Difference>;
  /** Labels that occur in gold or in an answer, in the order of the set. */
  relations: RelationDifference[];
  /** Rows with another answer, in the order of the rows. A row that is wrong on both sides is among them when its answers differ. */
  changed: ChangedRow[];
  counts: { rows: number; sentences: number; changed: Record<RowChange, number> };
  bootstrap: Required<BootstrapOptions>;
}

/**
 * Compares two sides, each of one run or of several (seeds), on the same rows by a paired bootstrap over sentences (docs/metrics.md): every
 * draw scores all runs on the same sentences. All lists hold the rows of the same examples in the same order. Throws a UserError for rows
 * that cannot be scored or differ in number.
 */
export function compareRows(
  a: readonly (readonly ScoredRow[])[],
  b: readonly (readonly ScoredRow[])[],
  labels: ScoringLabels,
  options: BootstrapOptions = {},
): Comparison {
  const bootstrap = bootstrapSettings({ draws: COMPARISON_DRAWS, ...options });
  const metrics = [a, b].map((side) => side.map((rows) => computeMetrics(rows, labels, { bootstrap: null })));
  const drawn = pairedDraws([...a, ...b], labels, { ...bootstrap, relations: true });
  const sides = { a: drawn.slice(0, a.length), b: drawn.slice(a.length) };
  const picks = a.length + b.length > 2 ? seedPicks(a.length, b.length, bootstrap) : null;
  const f1 = Object.fromEntries(
    COMPARED.map((name) => [name, differenceOf(name, metrics, sides, picks, bootstrap.level)]),
  ) as Record<Compared, Difference>;
  const changed = a[0].flatMap((_, place) => changedRow(a, b, place) ?? []);
  const count = (change: RowChange) => changed.filter((row) => row.change === change).length;
  const { rows, sentences } = metrics[0][0].counts;
  return {
    f1,
    relations: relationDifferences(metrics, sides, labels, bootstrap.level),
    changed,
    counts: {
      rows,
      sentences,
      changed: {
        "right-to-wrong": count("right-to-wrong"),
        "wrong-to-right": count("wrong-to-right"),
        "wrong-to-wrong": count("wrong-to-wrong"),
      },
    },
    bootstrap,
  };
}

interface Sides {
  a: readonly F1Draws[];
  b: readonly F1Draws[];
}

/** For every draw the runs of a and of b that it takes the mean of, drawn with replacement. */
interface SeedPicks {
  a: number[][];
  b: number[][];
}

function seedPicks(a: number, b: number, { draws, seed }: Required<BootstrapOptions>): SeedPicks {
  const random = createRandom(mixSeed(seed, 0x5eed5));
  const pick = (runs: number) =>
    Array.from({ length: draws }, () => Array.from({ length: runs }, () => random.below(runs)));
  return { a: pick(a), b: pick(b) };
}

function f1Of({ conventions, macro }: Metrics, name: Compared): number {
  return name === "macro" ? macro.f1 : conventions[name].f1;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function differenceOf(
  name: Compared,
  [ofA, ofB]: readonly (readonly Metrics[])[],
  sides: Sides,
  picks: SeedPicks | null,
  level: number,
): Difference {
  const each = { a: ofA.map((one) => f1Of(one, name)), b: ofB.map((one) => f1Of(one, name)) };
  const [a, b] = [mean(each.a), mean(each.b)];
  const drawsOf = (side: readonly F1Draws[]) => side.map((one) => one[name]);
  const picked = (side: readonly F1Draws[], runs: readonly number[][]) =>
    Float64Array.from(runs, (chosen, draw) => mean(chosen.map((run) => side[run][name][draw])));
  return {
    ...{ a, b, difference: b - a, each },
    ...drawnDifference(meanDraws(drawsOf(sides.a)), meanDraws(drawsOf(sides.b)), level),
    withSeeds: picks === null ? null : drawnDifference(picked(sides.a, picks.a), picked(sides.b, picks.b), level),
  };
}

function relationDifferences(
  metrics: readonly (readonly Metrics[])[],
  sides: Sides,
  { labels, noRelation }: ScoringLabels,
  level: number,
): RelationDifference[] {
  return labels.flatMap((relation, label) => {
    const found = metrics.map((side) => side.map((one) => one.relations.find((line) => line.relation === relation)));
    const known = found.flat().find((line) => line !== undefined);
    if (known === undefined) return [];
    // A label that neither the gold nor a run has is absent from that run's table: its F1 there is 0.
    const [a, b] = found.map((side) => mean(side.map((line) => line?.f1 ?? 0)));
    const drawsOf = (side: readonly F1Draws[]) => meanDraws(side.map(({ relations }) => relations[label]));
    const { interval } = drawnDifference(drawsOf(sides.a), drawsOf(sides.b), level);
    const isNoRelation = relation === noRelation;
    return [{ relation, isNoRelation, support: known.support, a, b, difference: b - a, interval }];
  });
}

function changedRow(
  a: readonly (readonly ScoredRow[])[],
  b: readonly (readonly ScoredRow[])[],
  place: number,
): ChangedRow | null {
  const answersOf = (side: readonly (readonly ScoredRow[])[]) => side.map((rows) => rows[place].predicted);
  const isRight = (side: readonly (readonly ScoredRow[])[]) =>
    2 * side.filter((rows) => isExact(rows[place])).length > side.length;
  const [before, after] = [isRight(a), isRight(b)];
  const answers = { place, a: answersOf(a), b: answersOf(b) };
  if (before !== after) return { ...answers, change: before ? "right-to-wrong" : "wrong-to-right" };
  if (before) return null;
  const allOf = (side: readonly (readonly string[])[]) => side.map((labels) => [...labels].sort().join("\n")).sort();
  const [own, other] = [new Set(allOf(answers.a)), new Set(allOf(answers.b))];
  const isSame = own.size === other.size && [...own].every((one) => other.has(one));
  return isSame ? null : { ...answers, change: "wrong-to-wrong" };
}
