import { homeHint, missingModelHint } from "../base/path-hints.ts";

/** Where a relative path of a recipe starts; a user may have meant the working folder. */
const START = "a relative path in a recipe or of --set starts at the folder of the recipe's file";

/** The problem of a model or tokenizer that a recipe names and that does not exist, with what its path may have been meant to be. */
export function missingModelProblem(key: string, path: string): string {
  const hint = missingModelHint(path);
  return `${key}: ${path} does not exist (${hint ? `${hint}; ` : ""}${START})`;
}

/** The problem of data that a recipe names and that does not exist. */
export function missingDataProblem(key: string, path: string): string {
  const hint = homeHint(path);
  return `${key}: ${path} does not exist${hint ? ` (${hint})` : ""}`;
}
