/** Time that one turn should take: others wait for it. */
const TURN_MS = 200;
/** Time that a turn may hold the event loop while its prompts are rendered. */
const HELD_MS = 30;
const FIRST_COST = 4096;
const LEAST_COST = 2048;
const MOST_COST = 1 << 18;
const FIRST_ITEMS = 64;
const LEAST_ITEMS = 32;
const MOST_ITEMS = 512;

/** Learns how much a turn may hold from the turns before. */
export interface Pace {
  bounds(): { items: number; cost: number };
  /** Runs a turn; the part of `work` before its first wait holds the event loop. */
  measure<T>(items: number, cost: number, work: () => Promise<T>): Promise<T>;
}

export function createPace(): Pace {
  let cost = FIRST_COST;
  let items = FIRST_ITEMS;
  /** Moves a bound to what fits into the time, at most doubling it. */
  const adapted = (bound: number, used: number, tookMs: number, wantedMs: number, least: number, most: number) => {
    // A turn that was not full and quick says only that more would fit.
    const fitting = (used / Math.max(0.1, tookMs)) * wantedMs;
    if (used < bound / 2 && fitting >= bound) return bound;
    return Math.min(most, Math.max(least, Math.min(2 * bound, 0.7 * bound + 0.3 * fitting)));
  };
  return {
    bounds: () => ({ items: Math.floor(items), cost }),
    async measure(count, used, work) {
      const started = performance.now();
      const working = work();
      const heldMs = performance.now() - started;
      const result = await working;
      const tookMs = performance.now() - started;
      cost = adapted(cost, used, tookMs, TURN_MS, LEAST_COST, MOST_COST);
      items = adapted(items, count, heldMs, HELD_MS, LEAST_ITEMS, MOST_ITEMS);
      return result;
    },
  };
}
