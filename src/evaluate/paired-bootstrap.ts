import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import { type FlatTallies, flatTallies, type Interval, percentileInterval } from "./bootstrap.ts";
import { indexLabels, type ScoredRow, type ScoringLabels, scoreFromCounts } from "./rows.ts";
import { CONVENTIONS, type Convention, labelCounts, scoresOfSum, tallyByGroup, tallySlots } from "./tally.ts";

/** The F1 values that are compared: every convention and macro. */
export const COMPARED = [...CONVENTIONS, "macro"] as const;
export type Compared = Convention | "macro";

/** F1 of one system in every draw; draw i is the same set of sentences for all systems. */
export interface F1Draws extends Record<Compared, Float64Array> {
  /** By label of the set; empty when they were not asked for. */
  relations: Float64Array[];
}

export interface DrawOptions {
  draws: number;
  seed: number;
  /** Also draw the F1 of every relation. */
  relations?: boolean;
}

/**
 * Draws whole sentences with replacement and scores every system on each draw. The rows of all systems must be those of the same examples in
 * the same order; the groups are those of the first. Throws a UserError when they are not, or when there are none.
 */
export function pairedDraws(
  systems: readonly (readonly ScoredRow[])[],
  labels: ScoringLabels,
  { draws, seed, relations = false }: DrawOptions,
): F1Draws[] {
  const [first = []] = systems;
  const uneven = systems.find((rows) => rows.length !== first.length);
  if (uneven !== undefined) {
    throw new UserError(`A paired bootstrap got ${first.length} and ${uneven.length} rows, expected the same rows.`);
  }
  const tallies = systems.map((rows) => flatTallies(tallyByGroup(rows, labels, indexLabels(rows, labels))));
  const groups = tallies[0].starts.length - 1;
  const random = createRandom(seed);
  const times = new Uint32Array(groups);
  const sum = new Float64Array(tallySlots(labels));
  const empty = () => new Float64Array(draws);
  const drawn: F1Draws[] = systems.map(() => ({
    paper: empty(),
    micro: empty(),
    "micro-argmax": empty(),
    macro: empty(),
    relations: relations ? labels.labels.map(empty) : [],
  }));
  for (let draw = 0; draw < draws; draw++) {
    times.fill(0);
    for (let i = 0; i < groups; i++) times[random.below(groups)]++;
    for (const [system, tally] of tallies.entries()) {
      addDrawn(sum, tally, times);
      const { conventions, macro } = scoresOfSum(sum, labels);
      const own = drawn[system];
      for (const name of CONVENTIONS) own[name][draw] = conventions[name].f1;
      own.macro[draw] = macro.f1;
      for (const [label, values] of own.relations.entries()) {
        const { hits, predicted, gold } = labelCounts(sum, label);
        values[draw] = scoreFromCounts(hits, predicted, gold).f1;
      }
    }
  }
  return drawn;
}

/** sum = Σ times[group] · tally of the group */
function addDrawn(sum: Float64Array, { starts, slotOf, amountOf }: FlatTallies, times: Uint32Array): void {
  sum.fill(0);
  for (let group = 0; group < times.length; group++) {
    const count = times[group];
    if (count === 0) continue;
    for (let entry = starts[group]; entry < starts[group + 1]; entry++) sum[slotOf[entry]] += count * amountOf[entry];
  }
}

/** The mean of several systems in every draw. */
export function meanDraws(systems: readonly Float64Array[]): Float64Array {
  return systems[0].map((_, draw) => systems.reduce((sum, values) => sum + values[draw], 0) / systems.length);
}

/** What draws of a difference say about it. */
export interface DrawnDifference {
  interval: Interval;
  /** Two-sided: twice the share of draws on the other side of 0 than most, at most 1; draws of exactly 0 count for both sides. */
  p: number;
}

/** Interval and p of b − a by their draws. The p is that of the percentile interval: below 1 − level about when the interval excludes 0. */
export function drawnDifference(a: Float64Array, b: Float64Array, level: number): DrawnDifference {
  const differences = b.map((value, draw) => value - a[draw]);
  let below = 0;
  let above = 0;
  for (const difference of differences) {
    if (difference <= 0) below++;
    if (difference >= 0) above++;
  }
  // One is added to both counts: with N draws no p can be known to be smaller than about 1 / N (Davison and Hinkley 1997).
  const p = Math.min(1, (2 * (Math.min(below, above) + 1)) / (differences.length + 1));
  return { interval: percentileInterval(differences, level), p };
}
