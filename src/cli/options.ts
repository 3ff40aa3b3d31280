import { InvalidArgumentError } from "commander";

// Parsers of option values that several commands share. Each throws Commander's InvalidArgumentError.

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError("expected a whole number.");
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("expected a positive number.");
  return value;
}

/** Collects the values of an option that can be given several times. */
export const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];
