import { it } from "vitest";
import { BF16_LEVELS, builtLevels, LEVELS, type Level, reasonAgainst, runnableLevels } from "./levels.ts";
import { nativeStatus } from "./open.ts";

/** The precisions of products on a level. */
export const precisionsOf = (level: Level): ("float32" | "bfloat16")[] =>
  BF16_LEVELS.includes(level) ? ["float32", "bfloat16"] : ["float32"];

/** Registers a skipped test for each level that `suite` cannot test here; its name says why. */
export function skipOtherLevels(suite: string): void {
  const { available, reason } = nativeStatus();
  for (const level of LEVELS) {
    const against = available ? reasonAgainst(level, runnableLevels(), builtLevels()) : reason;
    if (against !== null) it.skip(`${suite}, ${level}: ${against}`);
  }
}
