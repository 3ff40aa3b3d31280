import { UserError } from "../base/errors.ts";

/** Of a normalizer, pre_tokenizer or decoder; real files have at most five steps. */
const MAX_STEPS = 16;
/** Of the text that a step sets. */
const MAX_CONTENT_UNITS = 64;
/** How much longer a text may become: steps that repeat each other's text would fill the memory. */
const MAX_GROWTH = 64;

/** Throws a UserError for a file with more steps than any real one has. */
export function expectFewSteps(steps: readonly unknown[], where: string): void {
  if (steps.length <= MAX_STEPS) return;
  throw new UserError(`${where} has ${steps.length} steps, expected at most ${MAX_STEPS}.`);
}

export const isShortContent = (value: unknown): value is string =>
  typeof value === "string" && value.length <= MAX_CONTENT_UNITS;

/** Throws a UserError for a text that steps have made much longer. */
export function expectGrowth(before: number, after: number, where: string): void {
  if (after <= MAX_GROWTH * (before + MAX_CONTENT_UNITS)) return;
  throw new UserError(`${where} makes ${after} characters of ${before}, which is not supported.`);
}
