export { UserError, UserErrors } from "./base/errors.ts";
export type { Example, LabelSet, Span } from "./data/example.ts";
export { type Evaluation, evaluate } from "./evaluate/evaluate.ts";
export type { Metrics } from "./evaluate/metrics.ts";
export type { Extraction, Extractor, Prediction } from "./extract/extractor.ts";
export { readRecipe } from "./recipe/read.ts";
export type { Recipe } from "./recipe/schema.ts";
export { type OpenedRecipe, type OpenOptions, openRun } from "./runs/open.ts";
export { type RunEvent, trainRun } from "./runs/train-run.ts";
