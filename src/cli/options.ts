import { basename, join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { UserError } from "../base/errors.ts";

// Parsers of option values that several commands share. Each throws Commander's InvalidArgumentError.

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError("expected a whole number.");
  return value;
}

/** A whole number of at least 1. */
export function parseCount(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError("expected a whole number of at least 1.");
  return value;
}

export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value)) throw new InvalidArgumentError("expected a positive number.");
  return value;
}

/** "1,2,3": seeds, each once. */
export function seedList(text: string): number[] {
  const seeds = text.split(",").map(Number);
  const isSeed = (seed: number) => Number.isInteger(seed) && seed >= 0 && seed <= 0xffffffff;
  if (text.split(",").some((part) => part.trim() === "") || !seeds.every(isSeed))
    throw new InvalidArgumentError("expected whole numbers, as in 1,2,3.");
  return [...new Set(seeds)];
}

export function foldCount(text: string): number {
  const folds = wholeNumber(text);
  if (folds < 2) throw new InvalidArgumentError("expected a whole number of at least 2.");
  return folds;
}

/** The default folder of work on a recipe or a data folder: "runs/KIND-NAME". */
export function workFolder(kind: string, recipeOrData: string): string {
  return join("runs", `${kind}-${basename(resolve(recipeOrData)).replace(/\.ya?ml$/, "")}`);
}

/** Collects the values of an option that can be given several times. */
export const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];

/** Throws a UserError for an argument that is empty, and for an empty option that names a file or a folder. */
export function expectPaths(command: Command): void {
  for (const option of command.options) {
    const { long, flags } = option;
    const isPath = /<(dir|file|path)>/.test(flags);
    if (isPath && command.getOptionValue(option.attributeName()) === "") {
      throw new UserError(`${long}: is empty, expected a path.`);
    }
  }
  for (const [i, argument] of command.registeredArguments.entries()) {
    const given = command.processedArgs[i] as unknown;
    if (given === "" || (Array.isArray(given) && given.includes(""))) {
      throw new UserError(`<${argument.name()}>: is empty, expected a value.`);
    }
  }
}

export function parseShare(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError("expected a number from 0 to 1.");
  return value;
}
