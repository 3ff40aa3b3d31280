import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import picocolors from "picocolors";
import { nearestName, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { wrapped } from "../base/text-layout.ts";
import { hasFastBackend } from "../compute/open.ts";
import { pretrainRecipeSchema, readPretrainRecipe } from "../pretrain/recipe.ts";
import { AGAINST_WRONG_LABELS, RECIPES_FOLDER } from "../recipe/defaults.ts";
import { type ExplainedValue, explainedYaml, explainValues } from "../recipe/describe.ts";
import { type ResolvedRecipe, readRecipeValues, resolveRecipe } from "../recipe/read.ts";
import { recipeSchema } from "../recipe/schema.ts";
import { runFolder } from "../runs/run-folder.ts";
import { print, printText } from "./terminal.ts";

const MAX_RECIPE_BYTES = 1_000_000;
const DEFAULT_COLUMNS = 100;
const MOST_COLUMNS = 120;

export function addRecipeCommands(program: Command): void {
  const recipe = program.command("recipe").description("list and explain recipes");
  recipe
    .command("show")
    .description("every value of a recipe with its explanation; the output is a recipe itself")
    .argument("[name]", "a shipped recipe, a recipe file or a run folder (default: list the recipes, show the default)")
    .option("--data <dir>", "data folder: the defaults depend on its number of rows")
    .option("--json", "print JSON")
    .action(show);
}

/** One line on where the values come from that a recipe leaves out; null when that is nothing. */
export function defaultsLine({
  basis,
  facts,
  isAgainstWrongLabels,
}: Pick<ResolvedRecipe, "basis" | "facts" | "isAgainstWrongLabels">): string | null {
  const rows = facts === null ? "" : ` for ${facts.rows.toLocaleString("en")} training rows`;
  if (basis !== null) return `defaults${rows}: those of recipes/${basis}${isAgainstWrongLabels ? softText(facts) : ""}`;
  return facts === null ? null : `defaults${rows}: those of the CRE-LLM paper`;
}

/** Why some of the values are not those of the recipe. */
function softText(facts: ResolvedRecipe["facts"]): string {
  const values = Object.entries(AGAINST_WRONG_LABELS).map(([key, value]) => `${key} ${value}`);
  return `; ${facts?.softLabels.toLocaleString("en")} rows have soft labels, so train has ${values.join(", ")} against learning wrong ones by heart`;
}

interface Explained {
  /** Comment lines above the values. */
  header: string[];
  values: ExplainedValue[];
}

async function show(name: string | undefined, options: { data?: string; json?: boolean }): Promise<void> {
  const shipped = name === undefined ? await shippedRecipes() : [];
  const { header, values } = await explain(name === undefined ? undefined : recipeFile(name), options.data);
  if (options.json) {
    const list = shipped.length > 0 ? { recipes: shipped } : {};
    await print(`${JSON.stringify({ ...list, about: header, values }, null, 2)}\n`);
    return;
  }
  const isTerminal = process.stdout.isTTY;
  const columns = isTerminal ? Math.min(MOST_COLUMNS, Math.max(40, process.stdout.columns)) : DEFAULT_COLUMNS;
  const width = Math.max(...shipped.map((one) => one.name.length)) + 2;
  const list = shipped.flatMap(({ name, about }) =>
    wrapped(about, columns - width - 2).map(
      (line, i) => `# ${picocolors.bold((i === 0 ? name : "").padEnd(width))}${line}`,
    ),
  );
  const above = list.length > 0 ? ["# Shipped recipes; cre recipe show NAME explains one:", "#", ...list, ""] : [];
  await printText([...above, ...header.map((line) => `# ${line}`), "", ""].join("\n"));
  await printText(explainedYaml(values, { columns, paint: picocolors.dim }));
}

async function explain(file: string | undefined, dataPath: string | undefined): Promise<Explained> {
  if (file !== undefined && isPretraining(await readRecipeValues(file, []))) {
    const recipe = await readPretrainRecipe(file);
    return { header: await headerOf(file), values: explainValues(pretrainRecipeSchema, recipe, {}) };
  }
  const resolved = await resolveRecipe({ file, dataPath, isFast: hasFastBackend() });
  const about = file === undefined ? ["The default recipe: cre train --data DIR"] : await headerOf(file);
  const basis = defaultsLine(resolved);
  return {
    header: [...about, ...(basis === null ? [] : [basis])],
    values: explainValues(recipeSchema, resolved.recipe, await resolved.defaults()),
  };
}

function isPretraining(values: Record<string, unknown>): boolean {
  return typeof values.data === "object" && values.data !== null && "sources" in values.data;
}

/** The file of a shipped recipe, of a run folder, or the file itself. Throws a UserError that lists the shipped names. */
function recipeFile(name: string): string {
  const names = shippedNames();
  if (names.includes(name)) return join(RECIPES_FOLDER, `${name}.yaml`);
  const inRun = runFolder(name).recipe;
  if (existsSync(inRun)) return inRun;
  if (existsSync(name)) return name;
  const near = nearestName(name, names);
  throw new UserError(`${name}: is no recipe, expected a file, a run folder or one of ${names.join(", ")}.`, {
    hint: near === null ? undefined : `Did you mean ${near}?`,
  });
}

function shippedNames(): string[] {
  return readdirSync(RECIPES_FOLDER)
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => file.slice(0, -".yaml".length))
    .sort();
}

async function shippedRecipes(): Promise<{ name: string; about: string }[]> {
  return Promise.all(
    shippedNames().map(async (name) => {
      const header = await headerOf(join(RECIPES_FOLDER, `${name}.yaml`));
      // Without the last line, which is the command, the first sentence.
      return { name, about: header.slice(0, -1).join(" ").replace(/\. .*/, "") };
    }),
  );
}

/** The comment lines that a recipe file begins with. */
async function headerOf(file: string): Promise<string[]> {
  const lines = (await readTextFile(file, "a recipe", MAX_RECIPE_BYTES)).split("\n");
  const end = lines.findIndex((line) => !line.startsWith("#"));
  return lines.slice(0, end < 0 ? lines.length : end).map((line) => line.replace(/^# ?/, "").trimEnd());
}
