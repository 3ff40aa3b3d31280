import { mixSeed } from "../base/random.ts";
import { type Interval, percentileInterval } from "../evaluate/bootstrap.ts";
import { computeMetrics } from "../evaluate/metrics.ts";
import { drawnDifference, meanDraws, pairedDraws } from "../evaluate/paired-bootstrap.ts";
import type { ScoredRow, ScoringLabels } from "../evaluate/rows.ts";

/** Which F1 decides. */
export type RaceMetric = "micro" | "paper";

/** F1 of one candidate on the held-out rows of one fold with one seed. */
export interface UnitScore {
  fold: number;
  micro: number;
  paper: number;
  /** The deciding F1 in draws of this fold's sentences; draw i is the same sentences for every candidate and seed. */
  draws: Float64Array;
}

export interface RaceSettings {
  metric: RaceMetric;
  /** Draws of the bootstrap. */
  draws: number;
  seed: number;
}

/** Draws of the bootstrap of a fold. */
export const RACE_DRAWS = 2000;
/** Level of the intervals of the table. */
export const LEVEL = 0.95;
/** A candidate is dropped by an interval of this level, since every candidate is looked at after every fold. */
export const DROP_LEVEL = 0.99;
/** Folds that every candidate is given. */
export const LEAST_UNITS = 2;

/** Scores the held-out rows of a fold. */
export function scoreUnit(
  rows: readonly ScoredRow[],
  labels: ScoringLabels,
  fold: number,
  { metric, draws, seed }: RaceSettings,
): UnitScore {
  const { conventions } = computeMetrics(rows, labels, { bootstrap: null });
  const [drawn] = pairedDraws([rows], labels, { draws, seed: mixSeed(seed, fold) });
  return { fold, micro: conventions.micro.f1, paper: conventions.paper.f1, draws: drawn[metric] };
}

/** What is known of a candidate; its units are in the order of the race, without gaps. */
export interface Racer {
  units: readonly UnitScore[];
}

/** Where a candidate is after some units. F1 as fractions, means over units. */
export interface Standing {
  micro: number;
  paper: number;
  /** Of the deciding F1. */
  interval: Interval;
  /** The deciding F1 minus the leader's, on the units that both have. */
  behind: number;
  behindInterval: Interval;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The candidate with the highest mean of the deciding F1 among those with most units; of equal ones the first. Null before any unit. */
export function leaderOf(racers: readonly Racer[], metric: RaceMetric): number | null {
  const most = Math.max(0, ...racers.map(({ units }) => units.length));
  if (most === 0) return null;
  let best: number | null = null;
  let bestMean = Number.NEGATIVE_INFINITY;
  for (const [i, { units }] of racers.entries()) {
    if (units.length < most) continue;
    const own = mean(units.map((unit) => unit[metric]));
    if (own > bestMean) {
      best = i;
      bestMean = own;
    }
  }
  return best;
}

/** A candidate against the leader. Means over units of percentile intervals by sentences, drawn within each fold. */
export function standingOf({ units }: Racer, leader: Racer, metric: RaceMetric): Standing {
  const common = Math.min(units.length, leader.units.length);
  const [own, best] = [units.slice(0, common), leader.units.slice(0, common)];
  const drawsOf = (list: readonly UnitScore[]) => meanDraws(list.map(({ draws }) => draws));
  const meanOf = (list: readonly UnitScore[], name: RaceMetric) => mean(list.map((unit) => unit[name]));
  return {
    micro: meanOf(units, "micro"),
    paper: meanOf(units, "paper"),
    interval: percentileInterval(drawsOf(units), LEVEL),
    behind: meanOf(own, metric) - meanOf(best, metric),
    behindInterval: drawnDifference(drawsOf(best), drawsOf(own), LEVEL).interval,
  };
}

/**
 * The candidates to drop: those whose difference to the leader, paired by fold and by sentence, has an interval (99 %) wholly below 0. Nobody
 * is dropped before {@link LEAST_UNITS} units. A race of this kind is F-Race (Birattari et al. 2002).
 */
export function losersOf(racers: readonly Racer[], metric: RaceMetric): number[] {
  const leader = leaderOf(racers, metric);
  if (leader === null || racers[leader].units.length < LEAST_UNITS) return [];
  return racers.flatMap(({ units }, i) => {
    if (i === leader || units.length < LEAST_UNITS) return [];
    const common = Math.min(units.length, racers[leader].units.length);
    const drawsOf = (racer: Racer) => meanDraws(racer.units.slice(0, common).map(({ draws }) => draws));
    const { interval } = drawnDifference(drawsOf(racers[leader]), drawsOf({ units }), DROP_LEVEL);
    return interval.high < 0 ? [i] : [];
  });
}
