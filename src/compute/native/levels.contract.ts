import { it } from "vitest";
import { builtLevels, LEVELS, reasonAgainst, runnableLevels } from "./levels.ts";
import { nativeStatus } from "./open.ts";

/** Registers a skipped test for each level that `suite` cannot test here; its name says why. */
export function skipOtherLevels(suite: string): void {
  const { available, reason } = nativeStatus();
  for (const level of LEVELS) {
    const against = available ? reasonAgainst(level, runnableLevels(), builtLevels()) : reason;
    if (against !== null) it.skip(`${suite}, ${level}: ${against}`);
  }
}
