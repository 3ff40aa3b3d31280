import { loadLoraFrom } from "../adapters/lora-load.ts";
import { UserError } from "../base/errors.ts";
import { type Folder, readFolderText } from "../base/folder.ts";
import { checkSchema } from "../base/schema.ts";
import type { Backend } from "../compute/backend.ts";
import type { Extractor } from "../extract/extractor.ts";
import { checkFolderFiles } from "../formats/folder-sums.ts";
import { type Checkpoint, readModelFolder } from "../formats/model-folder.ts";
import { readSpec, TOKENIZER_RULES } from "../models/families/registry.ts";
import { loadDecoder } from "../models/load.ts";
import { type AnsweringRecipe, answeringSchema } from "../recipe/answer-schema.ts";
import { MAX_RECIPE_BYTES, parseRecipeText } from "../recipe/text.ts";
import {
  checkVocabulary,
  expectAnswers,
  extractorOf,
  LABELS_FILE,
  placeOptions,
  readLabels,
  rendererOf,
} from "../runs/answering.ts";
import { expectBaseWeights } from "../runs/base-weights.ts";
import { readCalibration } from "../runs/calibration-read.ts";
import { expectNoMixture, readCompanion } from "../runs/companion-read.ts";
import { layerStorageOf } from "../runs/layer-storage.ts";
import { readTokenizer, SENTENCEPIECE_FILE, TOKENIZERS_FILE } from "../tokenizers/read-tokenizer.ts";

export interface BrowserRunOptions {
  /** The folder of a finished run. */
  run: Folder;
  /** The model that it started from, with its tokenizer; for a run of a whole model its folder `model/`. */
  model: Folder;
  backend: Backend;
  /** Tensors that are loaded, of all. */
  onLoad?(done: number, total: number): void;
}

const RECIPE_FILE = "recipe.yaml";
const BASE_HINT = "Serve the model that the run started from.";
/** Methods whose result is the base model with low-rank products, and those whose result is a whole model. */
const LOW_RANK = ["lora", "dora"];
const WHOLE = ["full", "freeze"];

/**
 * Opens a finished run for extraction, as `openRun` does on Node: its weights with the prompt, template and labels that it was trained with,
 * its companion and its calibration. Throws a UserError for files that are missing, damaged, or do not belong together. The caller closes the
 * backend.
 */
export async function openBrowserRun({ run, model, backend, onLoad }: BrowserRunOptions): Promise<Extractor> {
  await checkFolderFiles(run);
  const recipe = await readAnsweringRecipe(run);
  const { method } = recipe.adapter;
  if (![...LOW_RANK, ...WHOLE].includes(method)) {
    const known = [...LOW_RANK, ...WHOLE].join(", ");
    throw new UserError(
      `${run.path(RECIPE_FILE)}: adapter.method is ${method}, expected one of ${known} in a browser.`,
    );
  }
  const labels = await readLabels(run);
  const companion = await readCompanion(run, labels);
  const calibration = await readCalibration(run);
  if (!companion) expectNoMixture(recipe.decode, run.directory);
  const checkpoint = await readModelFolder(model);
  try {
    const isAdapter = LOW_RANK.includes(method);
    if (isAdapter) await expectBaseWeights(run, checkpoint.source, BASE_HINT);
    const tokenizer = await readModelTokenizer(model, checkpoint);
    const spec = readSpec(checkpoint.config, model.directory);
    const renderer = rendererOf(recipe, tokenizer, labels, spec.maxTokens);
    expectAnswers(recipe, tokenizer, labels, run.path(LABELS_FILE));
    const layers = layerStorageOf(recipe.decode, recipe.model.storage, "plain loops");
    const decoder = await loadDecoder(backend, checkpoint, {
      ...placeOptions(recipe, false, tokenizer, onLoad),
      layers,
    });
    checkVocabulary(tokenizer, decoder.spec, model.directory);
    if (isAdapter) await loadLoraFrom(decoder, run);
    return extractorOf(recipe, { model: decoder, tokenizer, renderer, companion, calibration });
  } finally {
    await checkpoint.source.close();
  }
}

async function readAnsweringRecipe(run: Folder): Promise<AnsweringRecipe> {
  const text = await readFolderText(run, RECIPE_FILE, "a recipe", MAX_RECIPE_BYTES);
  const file = run.path(RECIPE_FILE);
  return checkSchema(answeringSchema, parseRecipeText(text, file, Object.keys(answeringSchema.shape)), file);
}

async function readModelTokenizer(model: Folder, { config }: Checkpoint) {
  const name = model.has(SENTENCEPIECE_FILE) ? SENTENCEPIECE_FILE : TOKENIZERS_FILE;
  const modelType = String(config.model_type);
  return (await readTokenizer(model, name, { modelType, rules: TOKENIZER_RULES })).tokenizer;
}
