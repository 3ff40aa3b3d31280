export { UserError, UserErrors } from "./base/errors.ts";
export type { Example, LabelSet, Span } from "./data/example.ts";
export { type Evaluation, evaluate } from "./evaluate/evaluate.ts";
export type { Metrics } from "./evaluate/metrics.ts";
export type { Extraction, Extractor, Prediction } from "./extract/extractor.ts";
export { type OpenOptions, openRun, type Workbench } from "./run.ts";
export { type Recipe, readRecipe } from "./train/recipe.ts";
export { type RunEvent, trainRun } from "./train-run.ts";
