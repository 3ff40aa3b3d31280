import { existsSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { parse as parseYaml, stringify as stringifyYaml } from "yaml";
import { messageOf, UserError, UserErrors } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { checkSchema } from "../base/schema.ts";
import { combinationProblems } from "./combinations.ts";
import { type RecipeParts, rightParts } from "./parts.ts";
import { type Recipe, recipeSchema } from "./schema.ts";

const MAX_RECIPE_BYTES = 1_000_000;

/**
 * Reads a recipe, applies overrides ("train.epochs=2"), checks it and makes its paths absolute (they are relative to the recipe's folder).
 * Throws a UserErrors that lists all problems.
 */
export async function readRecipe(file: string, overrides: readonly string[] = []): Promise<Recipe> {
  const value = await readRecipeValues(file, overrides);
  const recipe = checkSchema(recipeSchema, value, file);
  return { ...recipe, ...withAbsolutePaths(recipe, file) };
}

/** A recipe as far as it can be read. */
export interface RecipeReading {
  /** The whole recipe; null when it has problems. */
  recipe: Recipe | null;
  parts: RecipeParts;
  problems: readonly string[];
}

/** Reads a recipe as {@link readRecipe} does, but returns its problems together with the parts that are right. */
export async function readRecipeParts(file: string, overrides: readonly string[] = []): Promise<RecipeReading> {
  const value = await readRecipeValues(file, overrides);
  try {
    const recipe = checkSchema(recipeSchema, value, file);
    const whole = { ...recipe, ...withAbsolutePaths(recipe, file) };
    return { recipe: whole, parts: whole, problems: [] };
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    const parts = rightParts(value);
    return {
      recipe: null,
      parts: { ...parts, ...withAbsolutePaths(parts, file) },
      problems: [...new Set([...error.problems, ...combinedProblems(value, parts)])],
    };
  }
}

/** Problems of combinations, which the schema does not come to when it has problems of its own. */
function combinedProblems({ model }: Record<string, unknown>, parts: RecipeParts): string[] {
  if (typeof model !== "object" || model === null) return [];
  // A wrong path or size has been reported already: here its presence counts.
  const { path, init, tokenizer } = model as Record<string, unknown>;
  const found = combinationProblems({ ...parts, model: { path, init, tokenizer, storage: parts.model.storage } });
  return found.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** The two blocks with paths, made absolute from the folder of the recipe. */
function withAbsolutePaths<T extends Pick<RecipeParts, "model" | "data">>(
  { model, data }: T,
  file: string,
): Pick<T, "model" | "data"> {
  const fromRecipe = (path: string | undefined) => (path && !isAbsolute(path) ? resolve(dirname(file), path) : path);
  const absolute = <B extends object, K extends keyof B>(block: B, ...keys: K[]): B => {
    const paths = keys.filter((key) => key in block).map((key) => [key, fromRecipe(block[key] as string)]);
    return { ...block, ...Object.fromEntries(paths) };
  };
  return { model: absolute(model, "path", "tokenizer"), data: absolute(data, "path") };
}

/** The values of a recipe file with overrides ("train.epochs=2") applied, not yet checked. */
export async function readRecipeValues(file: string, overrides: readonly string[]): Promise<Record<string, unknown>> {
  const value = parseRecipeText(await readTextFile(file, "a recipe", MAX_RECIPE_BYTES), file);
  for (const override of overrides) applyOverride(value, override);
  return value;
}

function parseRecipeText(text: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    // Aliases could expand a small file to any size.
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

/** The files and folders of a recipe that do not exist. */
export function missingPaths(recipe: Pick<RecipeParts, "model" | "data">): string[] {
  const problems: string[] = [];
  const { path, tokenizer } = recipe.model;
  if (path && !existsSync(path)) problems.push(`model.path: ${path} does not exist`);
  if (tokenizer && !existsSync(tokenizer)) problems.push(`model.tokenizer: ${tokenizer} does not exist`);
  if (!recipe.data.path) problems.push("data.path is missing: give it in the recipe or with --data DIR");
  else if (!existsSync(recipe.data.path)) problems.push(`data.path: ${recipe.data.path} does not exist`);
  return problems;
}
