import { parse as parseYaml } from "yaml";
import { messageOf, UserError } from "../base/errors.ts";
import { expectShallow } from "./nesting.ts";

export const MAX_RECIPE_BYTES = 1_000_000;

/** The values in the text of a recipe, not yet checked; `keys` are those that it may have. Throws a UserError for a text that is no YAML, or too deep. */
export function parseRecipeText(text: string, file: string, keys: readonly string[]): Record<string, unknown> {
  expectShallow(text, file);
  let value: unknown;
  try {
    // Aliases could blow a small file up to any size.
    value = parseYaml(text, { maxAliasCount: 0, prettyErrors: true });
  } catch (error) {
    throw new UserError(`${file}: is not YAML: ${messageOf(error).split("\n")[0]}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: is not a recipe, expected keys ${keys.join(", ")}.`);
  }
  return value as Record<string, unknown>;
}
