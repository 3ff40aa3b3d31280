import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { checkOutputFolder } from "../base/output.ts";
import {
  expectSameRun,
  type ResultGroup,
  type RunResult,
  readRunResult,
  resultFolder,
  resultsTable,
} from "../bench/results.ts";
import { readRecipe } from "../recipe/read.ts";
import { isFinished, runFolder } from "../runs/run-folder.ts";
import { seedList } from "./options.ts";
import { exitCodeOf, Interrupted } from "./report.ts";
import { print, say } from "./terminal.ts";

interface ResultsOptions {
  seeds: number[];
  dataFolder?: string;
  runs: string;
  split: "valid" | "test";
}

export function addResultsCommand(bench: Command): void {
  bench
    .command("results")
    .description(
      "train and evaluate recipes with several seeds, and print a Markdown table; goes on where it was stopped",
    )
    .argument("<recipes...>", "recipe files")
    .option("--seeds <list>", "seeds, with commas between", seedList, [1, 2, 3])
    .option("--data-folder <dir>", "folder that holds the data sets under the names of the recipes' own data folders")
    .option("--runs <dir>", "folder of the runs", join("runs", "results"))
    .addOption(new Option("--split <name>", "split to evaluate on").choices(["valid", "test"]).default("test"))
    .action(results);
}

async function results(recipes: readonly string[], options: ResultsOptions): Promise<void> {
  await checkOutputFolder(options.runs);
  // All recipes are read before the first hour is spent.
  const dataOf = new Map<string, string>();
  for (const recipe of recipes) {
    const { path } = (await readRecipe(recipe)).data;
    if (!path) throw new UserError(`${recipe}: data.path is missing.`);
    const data = options.dataFolder === undefined ? path : join(options.dataFolder, basename(path));
    if (!existsSync(data)) {
      throw new UserError(`${recipe}: the data ${data} does not exist.`, {
        hint: "cre data fetch gets the benchmark sets; --data-folder DIR says where they are.",
      });
    }
    dataOf.set(recipe, data);
  }
  const groups: ResultGroup[] = [];
  for (const recipe of recipes) {
    const runs: { seed: number; result: RunResult }[] = [];
    for (const seed of options.seeds) {
      const directory = resultFolder(options.runs, recipe, seed);
      runs.push({ seed, result: await resultOf(directory, recipe, seed, dataOf.get(recipe) as string, options.split) });
    }
    groups.push({ recipe, runs });
  }
  await print(resultsTable(groups));
}

/** The result of one run, which is trained and evaluated as far as it was not yet. */
async function resultOf(
  directory: string,
  recipe: string,
  seed: number,
  data: string,
  split: string,
): Promise<RunResult> {
  const folder = runFolder(directory);
  const begun = existsSync(folder.recipe);
  if (begun) await expectSameRun(directory, await readRecipe(recipe, [`seed=${seed}`]));
  const finished = await readRunResult(directory);
  if (finished?.split === split) return finished;
  if (!(await isFinished(folder))) {
    const start = [recipe, "--data", data, "--set", `seed=${seed}`, "--run", directory];
    await runCommand("train", begun ? ["--resume", "--run", directory] : start);
  }
  await runCommand("evaluate", [directory, "--data", data, "--split", split]);
  const result = await readRunResult(directory);
  if (!result) throw new UserError(`${directory}: was trained and evaluated, and has no metrics.`);
  return result;
}

/** Runs a command in a process of its own, so that its memory is its own; its results go to standard error. */
async function runCommand(name: string, rest: readonly string[]): Promise<void> {
  say(`cre ${name} ${rest.join(" ")}`);
  const child = spawn(process.execPath, [process.argv[1], name, ...rest], { stdio: ["ignore", 2, 2] });
  const code = await new Promise<number | null>((done, fail) => {
    child.once("error", fail);
    child.once("exit", done);
  });
  if (code === 0) return;
  const stopped = [null, ...(["SIGINT", "SIGTERM", "SIGHUP"] as const).map(exitCodeOf)];
  if (stopped.includes(code)) throw new Interrupted("Repeat the same command to continue.");
  throw new UserError(`cre ${name} ended with code ${code}; its message is above.`);
}
