import { type Command, InvalidArgumentError } from "commander";
import { UserError } from "../base/errors.ts";

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
