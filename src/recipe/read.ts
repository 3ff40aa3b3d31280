import { existsSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { parse as parseYaml, stringify as stringifyYaml } from "yaml";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import { type Recipe, recipeSchema } from "./schema.ts";

const MAX_RECIPE_BYTES = 1_000_000;

/**
 * Reads a recipe, applies overrides ("train.epochs=2"), checks it and makes its paths absolute (they are relative to the recipe's folder).
 * Throws a UserErrors that lists all problems.
 */
export async function readRecipe(file: string, overrides: readonly string[] = []): Promise<Recipe> {
  return checkRecipe(await readRecipeValues(file, overrides), file, dirname(file));
}

/** Checks the values of a recipe and makes its paths absolute, relative to `folder`. Throws a UserErrors that lists all problems. */
export function checkRecipe(values: unknown, where: string, folder: string): Recipe {
  const recipe = checkSchema(recipeSchema, values, where);
  const fromRecipe = (path: string) => (isAbsolute(path) ? path : resolve(folder, path));
  const { model, data } = recipe;
  if (model.path) model.path = fromRecipe(model.path);
  if (model.tokenizer) model.tokenizer = fromRecipe(model.tokenizer);
  if (data.path) data.path = fromRecipe(data.path);
  return recipe;
}

/** What a recipe file says, with overrides ("train.epochs=2") applied and not yet checked. */
export async function readRecipeValues(file: string, overrides: readonly string[]): Promise<Record<string, unknown>> {
  const value = parseRecipeText(await readTextFile(file, "a recipe", MAX_RECIPE_BYTES), file);
  for (const override of overrides) applyOverride(value, override);
  return value;
}

function parseRecipeText(text: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    // Aliases could blow a small file up to any size.
    value = parseYaml(text, { maxAliasCount: 0, prettyErrors: true });
  } catch (error) {
    throw new UserError(`${file}: is not YAML: ${messageOf(error).split("\n")[0]}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: is not a recipe, expected keys model, data, prompt, adapter, train, decode, seed.`);
  }
  return value as Record<string, unknown>;
}

/** Sets one value of a recipe from "a.b.c=value", the value read as YAML. */
export function applyOverride(recipe: Record<string, unknown>, override: string): void {
  const equals = override.indexOf("=");
  if (equals < 1) throw new UserError(`--set ${override}: expected KEY=VALUE, for example train.epochs=2.`);
  const keys = override.slice(0, equals).split(".");
  let value: unknown;
  try {
    value = parseYaml(override.slice(equals + 1), { maxAliasCount: 0 });
  } catch (error) {
    throw new UserError(`--set ${override}: the value is not YAML: ${messageOf(error).split("\n")[0]}`);
  }
  let at = recipe;
  for (const key of keys.slice(0, -1)) {
    if (key === "__proto__") throw new UserError(`--set ${override}: "${key}" cannot be a key.`);
    if (!Object.hasOwn(at, key) || at[key] === null) at[key] = {};
    if (typeof at[key] !== "object") throw new UserError(`--set ${override}: "${key}" is not a group of values.`);
    at = at[key] as Record<string, unknown>;
  }
  const last = keys[keys.length - 1];
  if (last === "__proto__") throw new UserError(`--set ${override}: "${last}" cannot be a key.`);
  at[last] = value;
}

/** A recipe as YAML with every value written. */
export function recipeText(recipe: Recipe): string {
  return stringifyYaml(recipe);
}

/** The paths of a recipe's model that do not exist, one problem each. */
export function missingModelPaths({ model: { path, tokenizer } }: Recipe): string[] {
  const problems: string[] = [];
  if (path && !existsSync(path)) problems.push(`model.path: ${path} does not exist`);
  if (tokenizer && !existsSync(tokenizer)) problems.push(`model.tokenizer: ${tokenizer} does not exist`);
  return problems;
}

/** The paths of a recipe that do not exist, one problem each; call it before any weight is read. */
export function missingPaths(recipe: Recipe): string[] {
  const problems = missingModelPaths(recipe);
  if (!recipe.data.path) problems.push("data.path is missing: give it in the recipe or with --data DIR");
  else if (!existsSync(recipe.data.path)) problems.push(`data.path: ${recipe.data.path} does not exist`);
  return problems;
}
