import { createHash } from "node:crypto";
import { UserError, UserErrors } from "../base/errors.ts";
import { problemsTitle } from "../base/schema.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { modelFingerprint } from "../formats/fingerprint.ts";
import { fileSum } from "../formats/folder-sums-write.ts";
import { factsOfRows, missingPaths, type RecipeReading, type RecipeSource, readRecipeParts } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { type DataEvent, readLabelledSplit } from "../runs/labelled-rows.ts";
import { prepareForRows } from "../runs/prepare.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { type GridAxis, type GridPoint, gridPoints } from "./grid.ts";

/** A recipe to try. */
export interface Candidate {
  /** Its values of the grid; "" without a grid. */
  name: string;
  reading: RecipeReading;
  recipe: Recipe;
  /** Equal for candidates that are trained alike and differ only in how they decode. */
  training: string;
}

/** The rows that are divided into folds: the training rows of a data folder. Its other splits are never read. */
export interface FoldRows {
  /** Name of the data folder. */
  data: string;
  directory: string;
  labels: LabelSet;
  examples: Example[];
}

/**
 * Reads the training rows of a recipe, and only these. Throws a UserErrors when the recipe does not say where they are, and for bad rows.
 */
export async function readFoldRows(
  reading: RecipeReading,
  onData: (event: DataEvent) => void,
): Promise<FoldRows & { notices: readonly string[] }> {
  const { path, format, normalize, badRows = "stop" } = reading.parts.data;
  const problems = missingPaths(reading.parts).filter((problem) => problem.startsWith("data."));
  if (path === undefined || problems.length > 0) throw listed(reading.where, [...reading.problems, ...problems]);
  const dataset = await openDataset(path, { format, normalize });
  const examples = await readLabelledSplit(dataset, "train", badRows, onData);
  return { data: dataset.name, directory: path, labels: dataset.labels, examples, notices: dataset.notices };
}

/**
 * Reads the recipe of every point of a grid and checks it against its model, its tokenizer and the labels; no weight is read. Throws a
 * UserError with every mistake, the grid's or the recipe's own.
 */
export async function readCandidates(
  source: RecipeSource,
  axes: readonly GridAxis[],
  { labels, examples }: Pick<FoldRows, "labels" | "examples">,
): Promise<Candidate[]> {
  const points = gridPoints(axes);
  const facts = factsOfRows(examples, labels);
  const read = ({ overrides }: Pick<GridPoint, "overrides">) =>
    readRecipeParts({ ...source, overrides: [...(source.overrides ?? []), ...overrides], facts });
  await expectRightAxes(axes, read, source);
  const readings = await Promise.all(points.map(read));
  const found: string[][] = readings.map((reading) => [...new Set(reading.problems)]);
  if (found.every((problems) => problems.length === 0)) {
    for (const [i, problems] of (await contentProblems(readings, labels)).entries()) found[i].push(...problems);
  }
  const own = found[0].filter((problem) => found.every((problems) => problems.includes(problem)));
  if (own.length > 0) throw listed(readings[0].where, own);
  expectNone(validationProblems(axes, readings));
  expectNone(points.flatMap(({ name }, i) => found[i].map((problem) => `--grid ${name}: ${problem}`)));
  const fingerprints = new Map<string, string>();
  const candidates: Candidate[] = [];
  for (const [i, reading] of readings.entries()) {
    const recipe = reading.recipe as Recipe;
    candidates.push({ name: points[i].name, reading, recipe, training: await trainingDigest(recipe, fingerprints) });
  }
  return candidates;
}

/** Settings that decide something only where a fold has validation rows. */
const OF_VALIDATION = ["train.validateEvery", "train.validationRows", "train.patience", "train.keepBest"];

function validationProblems(axes: readonly GridAxis[], readings: readonly RecipeReading[]): string[] {
  if (readings.some(({ recipe }) => recipe !== null && recipe.train.validationShare > 0)) return [];
  return axes
    .filter(({ key }) => OF_VALIDATION.includes(key))
    .map(
      ({ key }) => `--grid ${key}: cannot be tuned: train.validationShare is 0, so folds train without validation rows`,
    );
}

/** Throws the mistakes that a value of the grid brings into a recipe by itself: an unknown key is one problem, however often it is given a value. */
async function expectRightAxes(
  axes: readonly GridAxis[],
  read: (point: Pick<GridPoint, "overrides">) => Promise<RecipeReading>,
  { file }: RecipeSource,
): Promise<void> {
  const known = new Set((await read({ overrides: [] })).problems);
  const problems: string[] = [];
  for (const { key, values } of axes) {
    for (const { value } of values) {
      const reading = await read({ overrides: [`${key}=${JSON.stringify(value)}`] });
      problems.push(...reading.problems.filter((problem) => !known.has(problem)).map((problem) => `--grid ${problem}`));
    }
  }
  expectNone([...new Set(problems)], file);
}

function expectNone(problems: readonly string[], file?: string): void {
  if (problems.length === 0) return;
  const hint = `cre recipe show${file === undefined ? "" : ` ${file}`} lists every key with its values.`;
  if (problems.length === 1) throw new UserError(`${problems[0].replace(/([^.?!])$/, "$1.")}`, { hint });
  throw new UserErrors(problemsTitle("The grid", problems.length), problems, { hint });
}

function listed(where: string, problems: readonly string[]): UserErrors {
  const distinct = [...new Set(problems)];
  return new UserErrors(problemsTitle(where, distinct.length), distinct);
}

/** What does not fit model, tokenizer or labels; recipes that are alike in all that matters here are looked at once. */
async function contentProblems(readings: readonly RecipeReading[], labels: LabelSet): Promise<string[][]> {
  const known = new Map<string, string[]>();
  const found: string[][] = [];
  for (const reading of readings) {
    const { model, prompt, adapter, train } = reading.recipe as Recipe;
    const key = JSON.stringify([model, prompt, adapter, train.batchExamples]);
    const problems = known.get(key) ?? (await problemsOfContent(reading, labels));
    known.set(key, problems);
    found.push(problems);
  }
  return found;
}

async function problemsOfContent(reading: RecipeReading, labels: LabelSet): Promise<string[]> {
  try {
    await (await prepareForRows(reading, { labels, splitNames: ["train"] })).close();
    return [];
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    return [...error.problems];
  }
}

/** A digest of all that decides a training but its rows and its seed. The base counts by its content, not by its path. */
async function trainingDigest(recipe: Recipe, fingerprints: Map<string, string>): Promise<string> {
  const { model, prompt, adapter, train, precision } = recipe;
  const { path, tokenizer, ...sizes } = model;
  const {
    checkpointSeconds: _,
    validateEvery,
    validationRows,
    validationShare,
    keepBest,
    negatives,
    joinedSentences,
    ...settings
  } = train;
  const digestOf = async (place: string, read: (place: string) => Promise<string>) => {
    const digest = fingerprints.get(place) ?? (await read(place));
    fingerprints.set(place, digest);
    return digest;
  };
  const contents = [
    path === undefined ? null : await digestOf(path, modelFingerprint),
    await digestOf(await findTokenizerFile(tokenizer ?? (path as string)), fileSum),
  ];
  // A run without a companion has nothing to mix in.
  const { companion } = recipe.decode;
  const parts: unknown[] = [sizes, contents, prompt, adapter, settings, precision, recipe.data.normalize ?? "none"];
  if (companion === "none") parts.push(companion);
  if (recipe.tasks.includes("mentions")) parts.push(recipe.tasks);
  if (negatives > 0) parts.push([negatives]);
  if (joinedSentences > 0) parts.push(["joined", joinedSentences]);
  if (validationShare > 0) parts.push([validationShare, validateEvery, validationRows, keepBest]);
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12);
}
