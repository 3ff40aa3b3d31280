import { existsSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { parse as parseYaml, stringify as stringifyYaml } from "yaml";
import { messageOf, UserError, UserErrors } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { checkSchema, problemsTitle } from "../base/schema.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { combinationProblems } from "./combinations.ts";
import {
  type DataFacts,
  defaultsFor,
  dependsOnData,
  fillIn,
  NO_FACTS,
  namesModel,
  type RecipeValues,
  section,
} from "./defaults.ts";
import { expectShallow } from "./nesting.ts";
import { type RecipeParts, rightParts } from "./parts.ts";
import { missingDataProblem, missingModelProblem } from "./path-hints.ts";
import { type Recipe, recipeSchema } from "./schema.ts";
import { MAX_RECIPE_BYTES, parseRecipeText } from "./text.ts";

const KEYS = Object.keys(recipeSchema.shape);

/** Where a recipe comes from. Without `file` and `values` every value is a default. */
export interface RecipeSource {
  /** The recipe file; paths in it are relative to its folder. */
  file?: string;
  /** Values in the place of a file's; paths in them are relative to the working directory. */
  values?: Readonly<RecipeValues>;
  /** Values that replace the given ones ("train.epochs=2"). */
  overrides?: readonly string[];
  /** Data folder in the place of the recipe's, relative to the working directory. */
  dataPath?: string;
  /** Facts of rows that the caller has, in the place of a data folder's. */
  facts?: DataFacts;
  badRows?: Recipe["data"]["badRows"];
  /** Whether a fast backend is available; without one the default model is a small one from nothing. */
  isFast?: boolean;
}

/** Where the values come from that a recipe leaves out. */
export interface Basis {
  /** The shipped recipe that the defaults come from; null for CRE-LLM's settings. */
  basis: string | null;
  /** Whether soft labels of the data replace some of them by `AGAINST_WRONG_LABELS`. */
  isAgainstWrongLabels: boolean;
  /** The facts that the defaults were chosen by; null when no default depends on the data, or there is no data. */
  facts: DataFacts | null;
}

/** A recipe as far as it can be read. */
export interface RecipeReading extends Basis {
  /** Names the recipe in a message. */
  where: string;
  /** The whole recipe; null when it has problems. */
  recipe: Recipe | null;
  parts: RecipeParts;
  problems: readonly string[];
}

export interface ResolvedRecipe extends Basis {
  recipe: Recipe;
  /** The values that the recipe would have if it named its model, its adapter's method and its data and nothing more. */
  defaults(): Promise<Recipe>;
}

/**
 * Reads a recipe, applies overrides ("train.epochs=2"), fills in what it leaves out, checks it and makes its paths absolute (they are
 * relative to the recipe's folder). Throws a UserErrors that lists all problems.
 */
export async function readRecipe(file: string, overrides: readonly string[] = []): Promise<Recipe> {
  return (await resolveRecipe({ file, overrides })).recipe;
}

/**
 * As {@link readRecipe}, and says where the defaults come from. Reads the training rows when a default depends on how many there are; an
 * error in the recipe is reported before. Throws a UserErrors that lists all problems.
 */
export async function resolveRecipe(source: RecipeSource): Promise<ResolvedRecipe> {
  const { isFast = true } = source;
  const { recipe, problems, where, basis, isAgainstWrongLabels, facts } = await readRecipeParts(source);
  if (recipe === null) throw new UserErrors(problemsTitle(where, problems.length), problems);
  const defaults = async () => {
    const choices = choicesOf(recipe, await givenValues(source));
    const { values } = await defaultsFor(choices, facts ?? NO_FACTS, isFast, readShippedRecipe);
    return checkRecipe(fillIn(choices, values), "the defaults", ".");
  };
  return { recipe, basis, isAgainstWrongLabels, facts, defaults };
}

/** Reads a recipe as {@link resolveRecipe} does, but returns its problems together with the parts that are right. */
export async function readRecipeParts(source: RecipeSource): Promise<RecipeReading> {
  const { file, isFast = true } = source;
  const given = await givenValues(source);
  const where = file ?? "The recipe";
  const folder = file === undefined ? "." : dirname(file);
  const readWith = async (facts: DataFacts) => {
    const { values, ...from } = await defaultsFor(given, facts, isFast, readShippedRecipe);
    return { ...reading(fillIn(given, values), where, folder), ...from };
  };
  if (source.facts) {
    const facts = dependsOnData(given) ? source.facts : null;
    return { where, ...(await readWith(facts ?? NO_FACTS)), facts };
  }
  const first = await readWith(NO_FACTS);
  const { path } = first.parts.data;
  // Mistakes in values are reported before the data is read for the sake of defaults.
  const isSure = first.recipe === null || !dependsOnData(given) || path === undefined || !existsSync(path);
  if (isSure) return { where, ...first, facts: null };
  const facts = await factsOf(path, first.parts.data);
  return { where, ...(await readWith(facts)), facts };
}

/** The values that a source gives, with its changes, not yet checked. */
async function givenValues({ file, values, overrides = [], dataPath, badRows }: RecipeSource): Promise<RecipeValues> {
  const given = file === undefined ? structuredClone({ ...values }) : await readRecipeValues(file, overrides);
  if (file === undefined) for (const override of overrides) applyOverride(given, override);
  const data = { ...(dataPath === undefined ? {} : { path: resolve(dataPath) }), ...(badRows ? { badRows } : {}) };
  // A block that is no group of values stays, to be reported.
  const isGroup = given.data == null || typeof given.data === "object";
  return isGroup && Object.keys(data).length > 0 ? { ...given, data: { ...section(given, "data"), ...data } } : given;
}

function reading(
  values: RecipeValues,
  where: string,
  folder: string,
): Pick<RecipeReading, "recipe" | "parts" | "problems"> {
  try {
    const recipe = checkRecipe(values, where, folder);
    return { recipe, parts: recipe, problems: [] };
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    const parts = rightParts(values);
    const problems = [...new Set([...error.problems, ...combinedProblems(values, parts)])];
    return { recipe: null, parts: { ...parts, ...withAbsolutePaths(parts, folder) }, problems };
  }
}

/** Checks the values of a recipe and makes its paths absolute, relative to `folder`. Throws a UserErrors that lists all problems. */
export function checkRecipe(values: unknown, where: string, folder: string): Recipe {
  const recipe = checkSchema(recipeSchema, values, where);
  return { ...recipe, ...withAbsolutePaths(recipe, folder) };
}

/** Problems of combinations, which the schema does not come to when it has problems of its own. */
function combinedProblems(values: RecipeValues, parts: RecipeParts): string[] {
  // A wrong path or size has been reported already: here its presence counts.
  const { path, init, tokenizer } = section(values, "model");
  const model = { path, init, tokenizer, storage: parts.model.storage };
  const found = combinationProblems({ ...parts, model, train: section(values, "train") });
  return found.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

/** The blocks with paths, made absolute from `folder`. */
function withAbsolutePaths<T extends Pick<RecipeParts, "model" | "data" | "adapter">>(
  { model, data, adapter }: T,
  folder: string,
): Pick<T, "model" | "data" | "adapter"> {
  const fromRecipe = (path: string | undefined) => (path && !isAbsolute(path) ? resolve(folder, path) : path);
  const absolute = <B extends object, K extends keyof B>(block: B, ...keys: K[]): B => {
    const paths = keys.filter((key) => key in block).map((key) => [key, fromRecipe(block[key] as string)]);
    return { ...block, ...Object.fromEntries(paths) };
  };
  return {
    model: absolute(model, "path", "tokenizer"),
    data: absolute(data, "path"),
    adapter: adapter && absolute(adapter, "start" as never),
  };
}

/** Of a recipe only the choices that other defaults follow from. */
function choicesOf({ model, data, adapter }: Recipe, given: RecipeValues): RecipeValues {
  const { path, init, tokenizer } = model;
  return {
    model: namesModel(given) ? { path, init, tokenizer } : {},
    data: data.path === undefined ? {} : { path: data.path },
    ...(given.adapter == null ? {} : { adapter: { method: adapter.method } }),
  };
}

/** The values of a shipped recipe with the paths of its model made absolute. */
async function readShippedRecipe(file: string): Promise<RecipeValues> {
  const values = await readRecipeValues(file, []);
  const model = { ...(values.model as Record<string, unknown>) };
  for (const key of ["path", "tokenizer"]) {
    if (typeof model[key] === "string") model[key] = join(dirname(file), model[key]);
  }
  return { ...values, model };
}

/** What of a data folder decides the defaults. Bad rows are left out here; training reads and reports them. */
async function factsOf(path: string, { format, normalize }: RecipeParts["data"]): Promise<DataFacts> {
  const dataset = await openDataset(path, { format, normalize });
  return factsOfRows((await dataset.split("train", { onBadRow: "skip" })).examples, dataset.labels);
}

/** What of training rows decides the defaults. */
export function factsOfRows(examples: readonly Example[], { labels, noRelation, inverses }: LabelSet): DataFacts {
  return {
    rows: examples.length,
    softLabels: examples.filter(({ softLabels }) => softLabels !== undefined).length,
    severalRelations: examples.filter(({ relations = [] }) => new Set(relations).size > 1).length,
    hasInverses: labels.every((label) => label === noRelation || inverses.has(label)),
    hasNoRelation: noRelation !== null,
  };
}

/** The values in a recipe file, with overrides ("train.epochs=2") applied and not yet checked. */
export async function readRecipeValues(file: string, overrides: readonly string[]): Promise<RecipeValues> {
  const value = parseRecipeText(await readTextFile(file, "a recipe", MAX_RECIPE_BYTES), file, KEYS);
  for (const override of overrides) applyOverride(value, override);
  return value;
}

/** Sets one value of a recipe from "a.b.c=value", the value read as YAML. */
export function applyOverride(recipe: RecipeValues, override: string): void {
  const equals = override.indexOf("=");
  if (equals < 1) throw new UserError(`--set ${override}: expected KEY=VALUE, for example train.epochs=2.`);
  expectShallow(override, `--set ${override.slice(0, equals)}`);
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
    at = at[key] as RecipeValues;
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
export function missingModelPaths({ model: { path, tokenizer } }: Pick<RecipeParts, "model">): string[] {
  const problems: string[] = [];
  if (path && !existsSync(path)) problems.push(missingModelProblem("model.path", path));
  if (tokenizer && !existsSync(tokenizer)) problems.push(missingModelProblem("model.tokenizer", tokenizer));
  return problems;
}

/** The paths of a recipe that do not exist, one problem each; call it before any weight is read. */
export function missingPaths(recipe: Pick<RecipeParts, "model" | "data">): string[] {
  const problems = missingModelPaths(recipe);
  if (!recipe.data.path) problems.push("data.path is missing: give it in the recipe or with --data DIR");
  else if (!existsSync(recipe.data.path)) problems.push(missingDataProblem("data.path", recipe.data.path));
  return problems;
}
