import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { runFolder } from "../runs/run-folder.ts";

/** Names of files that runs, models and data folders are read from. */
const KEPT =
  /\.(ya?ml|jsonl|txt|html|safetensors|bin|gguf|model)$|^(labels|base|done|companion|config|.*_config|tokenizer.*|.*\.index)\.json$/;

export async function filesIn(folder: string | undefined): Promise<string[]> {
  if (folder === undefined) return [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.map(({ name }) => join(folder, name)).filter((file) => KEPT.test(basename(file)));
}

/** The run folders of an argument, with commas between them. A folder with a comma in its name is one run. */
export function runsOf(text: string): string[] {
  if (existsSync(runFolder(text).recipe)) return [text];
  const runs = text.split(",");
  if (runs.includes("")) throw new UserError(`${text}: is a list with an empty name, expected run folders.`);
  return eachOnce(runs, text);
}

/** The runs; throws a UserError where one is named twice. */
export function eachOnce(runs: readonly string[], where: string): string[] {
  const twice = runs.find((run, i) => runs.indexOf(run) !== i);
  if (twice !== undefined) throw new UserError(`${where}: names ${twice} twice, expected each run once.`);
  return [...runs];
}
