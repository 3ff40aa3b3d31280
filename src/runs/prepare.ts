import { existsSync } from "node:fs";
import { methodOf } from "../adapters/methods.ts";
import { UserErrors } from "../base/errors.ts";
import { problemsTitle } from "../base/schema.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import type { LabelSet } from "../data/example.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { readSpec } from "../models/families/registry.ts";
import { specFromSizes } from "../models/sizes.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { Renderer } from "../prompts/renderer.ts";
import { contentProblems, problemsOf } from "../recipe/check.ts";
import type { RecipeParts } from "../recipe/parts.ts";
import { missingModelPaths, missingPaths, type RecipeReading } from "../recipe/read.ts";
import { resolveNames } from "../recipe/resolve.ts";
import type { InitSettings, Recipe } from "../recipe/schema.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { checkVocabulary, rendererOf } from "./answering.ts";
import { type MemoryNeed, memoryProblem, weightNeed } from "./memory.ts";
import { openModelTokenizer } from "./tokenizer.ts";

/** A checked recipe with everything open that it names; of the model only the header has been read. */
export interface PreparedRecipe {
  /** With names in the place of "auto". */
  recipe: Recipe;
  tokenizer: Tokenizer;
  renderer: Renderer;
  spec: DecoderSpec;
  /** Null for a model from nothing. */
  base: Checkpoint | null;
  /** Closes the checkpoint; a second call does nothing. */
  close(): Promise<void>;
}

/** Where a prepared recipe trains. */
export interface Where {
  /** On another machine: this one need not have the memory. */
  isElsewhere?: boolean;
}

/** A recipe that is ready to train on its data. */
export interface PreparedTraining extends PreparedRecipe {
  dataset: Dataset;
}

/**
 * Opens the data, tokenizer and model of a recipe, without the weights. Throws one UserErrors with every problem of the recipe: of its
 * values, its paths, and of what does not fit the model, the tokenizer or the labels.
 */
export async function prepareTraining(reading: RecipeReading, where: Where = {}): Promise<PreparedTraining> {
  const { path, format, normalize } = reading.parts.data;
  const problems = [...reading.problems, ...missingPaths(reading.parts)];
  const dataset =
    path && existsSync(path) ? await attempt(problems, () => openDataset(path, { format, normalize })) : null;
  const prepared = await prepare(reading.where, { ...reading, problems }, dataset, where);
  return { ...prepared, dataset: dataset as Dataset };
}

/** As {@link prepareTraining}, for labels and splits that the caller has. */
export function prepareForRows(
  reading: RecipeReading,
  rows: { labels: LabelSet; splitNames: Dataset["splitNames"] },
  where: Where = {},
): Promise<PreparedRecipe> {
  const problems = [...reading.problems, ...missingModelPaths(reading.parts)];
  return prepare(reading.where, { ...reading, problems }, rows, where);
}

/** Prepares a recipe whose values are checked, for these labels. Throws one UserErrors with every problem. */
export function prepareRecipe(recipe: Recipe, labels: LabelSet): Promise<PreparedRecipe> {
  return prepare(
    "The recipe",
    { recipe, parts: recipe, problems: missingModelPaths(recipe) },
    { labels, splitNames: null },
  );
}

/** What is known about the rows. */
interface Rows {
  labels: LabelSet;
  splitNames: Dataset["splitNames"] | null;
  nearSplit?: Dataset["nearSplit"];
}

async function prepare(
  where: string,
  reading: Pick<RecipeReading, "recipe" | "parts" | "problems">,
  rows: Rows | null,
  { isElsewhere = false }: Where = {},
): Promise<PreparedRecipe> {
  const { parts } = reading;
  const problems = [...reading.problems];
  const { init, path } = parts.model;
  const base = !init && path && existsSync(path) ? await attempt(problems, () => openCheckpoint(path)) : null;
  let isOpen = base !== null;
  const close = async () => {
    if (isOpen) await base?.source.close();
    isOpen = false;
  };
  try {
    const modelType = init?.family ?? (base ? String(base.config.model_type) : undefined);
    const tokenizer = await openPartsTokenizer(problems, parts, modelType);
    const spec = await attempt(problems, () => specOf(base, init, tokenizer));
    if (spec && tokenizer) await attempt(problems, () => checkVocabulary(tokenizer, spec, path ?? "model.init"));
    const resolved =
      spec && reading.recipe
        ? await attempt(problems, () => resolveNames(reading.recipe as Recipe, spec.family, tokenizer))
        : null;
    const { labels = null, splitNames = null, nearSplit } = rows ?? {};
    const nearTrain = nearSplit?.("train");
    problems.push(...contentProblems(resolved ?? parts, { spec, tokenizer, labels, splitNames, nearTrain }));
    const room = spec && resolved && !isElsewhere ? memoryProblem(trainingNeed(resolved, spec)) : null;
    if (room !== null) problems.push(`the recipe ${room}`);
    if (problems.length > 0 || !resolved || !tokenizer || !spec || !labels) throw listed(where, problems);
    return { recipe: resolved, tokenizer, spec, base, renderer: rendererOf(resolved, tokenizer, labels), close };
  } catch (error) {
    await close();
    throw error;
  }
}

function listed(where: string, problems: readonly string[]): UserErrors {
  const distinct = [...new Set(problems)];
  return new UserErrors(problemsTitle(where, distinct.length), distinct);
}

/** What `open` gives; null after a mistake of the user, which is added to the problems. */
async function attempt<T>(problems: string[], open: () => T | Promise<T>): Promise<T | null> {
  try {
    return await open();
  } catch (error) {
    problems.push(...problemsOf(error));
    return null;
  }
}

async function openPartsTokenizer(
  problems: string[],
  { model }: RecipeParts,
  modelType: string | undefined,
): Promise<Tokenizer | null> {
  const path = model.tokenizer ?? model.path;
  if (!path || !existsSync(path)) return null;
  return attempt(problems, () => openModelTokenizer(path, { modelType }));
}

function specOf(
  base: Checkpoint | null,
  init: InitSettings | undefined,
  tokenizer: Tokenizer | null,
): DecoderSpec | null {
  if (init) return tokenizer && specFromInit(init, tokenizer);
  return base && readSpec(base.config, base.directory);
}

/** The specification of a model made from nothing for a tokenizer. */
export function specFromInit(init: InitSettings, tokenizer: Tokenizer): DecoderSpec {
  return specFromSizes(init, tokenizer, "model.init");
}

/** What the weights of a resolved recipe and their training need. */
export function trainingNeed({ model, adapter }: Recipe, spec: DecoderSpec): MemoryNeed {
  const method = methodOf(adapter);
  const trained = { ofModel: method.trainsOfBase(adapter, spec), added: method.addedNumbers(adapter, spec) };
  return weightNeed(spec, model.storage, trained);
}
