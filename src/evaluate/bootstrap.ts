import { UserError } from "../base/errors.ts";
import { createRandom } from "../base/random.ts";
import type { ScoringLabels } from "./rows.ts";
import { type Convention, scoresOfSum, type Tally, tallySlots } from "./tally.ts";

/** Fractions in [0, 1]. */
export interface Interval {
  low: number;
  high: number;
}

/** Percentile intervals of the F1 values, and how they were made. */
export interface BootstrapIntervals extends Record<Convention | "macro", Interval> {
  level: number;
  draws: number;
  /** How many groups (sentences) were drawn from. */
  groups: number;
  seed: number;
}

export interface BootstrapOptions {
  /** Default 1,000. */
  draws?: number;
  seed?: number;
  /** Default 0.95. */
  level?: number;
}

const MAX_DRAWS = 100_000;

/**
 * Percentile bootstrap (Efron 1979) over whole sentences: pairs of one sentence are not independent (FinRE holds every pair in both
 * directions), so rows drawn one by one would give intervals that are too narrow. Throws a UserError for settings out of range.
 */
export function bootstrapIntervals(
  groups: readonly Tally[],
  labels: ScoringLabels,
  options: BootstrapOptions = {},
): BootstrapIntervals {
  const { draws, seed, level } = bootstrapSettings(options);
  if (groups.length === 0) throw new UserError("There are no sentences to draw from, expected at least one.");

  const { starts, slotOf, amountOf } = flatTallies(groups);
  const random = createRandom(seed);
  const sum = new Float64Array(tallySlots(labels));
  const paper = new Float64Array(draws);
  const micro = new Float64Array(draws);
  const argmax = new Float64Array(draws);
  const macro = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw++) {
    sum.fill(0);
    for (let i = 0; i < groups.length; i++) {
      const group = random.below(groups.length);
      for (let entry = starts[group]; entry < starts[group + 1]; entry++) sum[slotOf[entry]] += amountOf[entry];
    }
    const scores = scoresOfSum(sum, labels);
    paper[draw] = scores.conventions.paper.f1;
    micro[draw] = scores.conventions.micro.f1;
    argmax[draw] = scores.conventions["micro-argmax"].f1;
    macro[draw] = scores.macro.f1;
  }
  return {
    paper: percentileInterval(paper, level),
    micro: percentileInterval(micro, level),
    "micro-argmax": percentileInterval(argmax, level),
    macro: percentileInterval(macro, level),
    level,
    draws,
    groups: groups.length,
    seed,
  };
}

/** The settings of a bootstrap with the defaults filled in. Throws a UserError for settings out of range. */
export function bootstrapSettings({
  draws = 1000,
  seed = 1,
  level = 0.95,
}: BootstrapOptions): Required<BootstrapOptions> {
  if (!Number.isInteger(draws) || draws < 1 || draws > MAX_DRAWS) {
    throw new UserError(`Bootstrap draws is ${draws}, expected a whole number from 1 to ${MAX_DRAWS}.`);
  }
  if (!(level > 0 && level < 1)) throw new UserError(`Bootstrap level is ${level}, expected a number between 0 and 1.`);
  return { draws, seed, level };
}

/** Tallies one after another: those of group g are the entries from starts[g] to starts[g + 1]. */
export interface FlatTallies {
  starts: Int32Array;
  slotOf: Int32Array;
  amountOf: Float64Array;
}

export function flatTallies(groups: readonly Tally[]): FlatTallies {
  const entries = groups.reduce((total, tally) => total + tally.size, 0);
  const starts = new Int32Array(groups.length + 1);
  const slotOf = new Int32Array(entries);
  const amountOf = new Float64Array(entries);
  let entry = 0;
  for (const [group, tally] of groups.entries()) {
    starts[group] = entry;
    for (const [slot, value] of tally) {
      slotOf[entry] = slot;
      amountOf[entry] = value;
      entry++;
    }
  }
  starts[groups.length] = entry;
  return { starts, slotOf, amountOf };
}

/** The middle `level` of the values; between two ranks it interpolates linearly. Sorts `values` in place. */
export function percentileInterval(values: Float64Array, level: number): Interval {
  values.sort();
  const at = (fraction: number) => {
    const rank = fraction * (values.length - 1);
    const below = Math.floor(rank);
    const above = Math.min(below + 1, values.length - 1);
    return values[below] + (rank - below) * (values[above] - values[below]);
  };
  return { low: at((1 - level) / 2), high: at((1 + level) / 2) };
}
