import { existsSync } from "node:fs";
import { join } from "node:path";
import { type AdapterSettings, attachAdapter } from "../adapters/adapter.ts";
import { AUTO_TARGETS, defaultTargets, loadLora, saveLora } from "../adapters/lora.ts";
import { UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { openBackend } from "../compute/open.ts";
import type { LabelSet } from "../data/example.ts";
import { labelSetToJson, parseLabelsJson } from "../data/label-set.ts";
import { createExtractor, type Extractor } from "../extract/extractor.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import { specFromSizes } from "../models/sizes.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { AUTO_TEMPLATE, chatTemplate } from "../prompts/chat-template.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { createRenderer, type Renderer } from "../prompts/renderer.ts";
import type { DecodeSettings, InitSettings, Recipe } from "../recipe/schema.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { expectSameBase, openRunFolder, type RunFolder } from "./run-folder.ts";
import { openModelTokenizer } from "./tokenizer.ts";

/** Everything that a recipe puts together, ready to train or to extract. */
export interface Workbench {
  recipe: Recipe;
  backend: Backend;
  model: Decoder;
  tokenizer: Tokenizer;
  renderer: Renderer;
  extractor: Extractor;
  /** Trainable weights in a fixed order; empty when opened for extraction. */
  trainable: Weight[];
  close(): Promise<void>;
}

export interface OpenOptions {
  onNotice?: (line: string) => void;
  onLoad?: (done: number, total: number) => void;
  /** Of a run that is opened: how the layers' matrices are kept, instead of as the recipe says. */
  storage?: WeightStorage;
  /** Replaces single values of the recipe's decoding. */
  decode?: Partial<DecodeSettings>;
}

const MAX_LABELS_BYTES = 4_000_000;

/** The path of the tokenizer that a recipe means. */
export function tokenizerPath(recipe: Recipe): string {
  return recipe.model.tokenizer ?? (recipe.model.path as string);
}

/**
 * The recipe with names in the place of "auto": the chat template of the model's family (`plain` for a model from nothing) and the modules
 * that an adapter stands beside.
 */
function resolveNames(recipe: Recipe, modelType: string): Recipe {
  const { model, prompt, adapter } = recipe;
  const hasAutoTargets = adapter.method === "lora" && adapter.targets === AUTO_TARGETS;
  const auto = () => (model.init ? chatTemplate("plain").name : familyNamed(modelType, "prompt.template").chatTemplate);
  const template = prompt.template === AUTO_TEMPLATE ? auto() : prompt.template;
  const named = hasAutoTargets ? { ...adapter, targets: defaultTargets(modelType) } : adapter;
  return { ...recipe, prompt: { ...prompt, template }, adapter: named };
}

/** The `model_type` of the model that a recipe starts from. */
async function modelTypeOf({ model }: Recipe): Promise<string> {
  if (model.init) return model.init.family;
  const { config, source } = await openCheckpoint(model.path as string);
  await source.close();
  return String(config.model_type);
}

/** The specification of a model made from nothing for a tokenizer. */
export function specFromInit(init: InitSettings, tokenizer: Tokenizer): DecoderSpec {
  return specFromSizes(init, tokenizer, "model.init");
}

function rendererOf(recipe: Recipe, tokenizer: Tokenizer, labels: LabelSet): Renderer {
  const { style, template, maxPromptTokens, maxAnswerTokens } = recipe.prompt;
  return createRenderer({
    tokenizer,
    style: promptStyle(style),
    template: chatTemplate(template),
    labels,
    maxPromptTokens,
    maxAnswerTokens,
    addBos: tokenizer.bosId !== null,
  });
}

function extractorOf(
  recipe: Recipe,
  model: Decoder,
  tokenizer: Tokenizer,
  renderer: Renderer,
  decode: Partial<DecodeSettings> = {},
): Extractor {
  const settings = { ...recipe.decode, ...decode, maxAnswerTokens: recipe.prompt.maxAnswerTokens };
  return createExtractor(model, tokenizer, renderer, settings);
}

/** Checks a tokenizer against a model's vocabulary; the model may have padding rows, never too few. Throws a UserError. */
export function checkVocabulary(tokenizer: Tokenizer, spec: DecoderSpec, where: string): void {
  if (tokenizer.vocabularySize > spec.vocabularySize) {
    throw new UserError(
      `${where}: the tokenizer has ${tokenizer.vocabularySize} pieces, but the model's vocabulary is ${spec.vocabularySize}.`,
      { hint: "Does the tokenizer belong to this model?" },
    );
  }
}

async function loadModel(
  backend: Backend,
  path: string,
  storage: Recipe["model"]["storage"],
  trainable: boolean,
  tokenizer: Tokenizer,
  options: OpenOptions,
): Promise<Decoder> {
  const checkpoint = await openCheckpoint(path);
  try {
    const tokenCount = tokenizer.vocabularySize;
    const model = await loadDecoder(backend, checkpoint, {
      storage,
      trainable,
      tokenCount,
      onProgress: options.onLoad,
    });
    checkVocabulary(tokenizer, model.spec, path);
    return model;
  } finally {
    await checkpoint.source.close();
  }
}

/** What a recipe needs to turn rows into token ids, without its model's weights; a `givenType` stands for a model that is not there. */
export async function openRenderer(
  givenRecipe: Recipe,
  labels: LabelSet,
  givenType?: string,
): Promise<Pick<Workbench, "recipe" | "tokenizer" | "renderer">> {
  const modelType = givenType ?? (await modelTypeOf(givenRecipe));
  const recipe = resolveNames(givenRecipe, modelType);
  const tokenizer = await openModelTokenizer(tokenizerPath(recipe), { modelType });
  return { recipe, tokenizer, renderer: rendererOf(recipe, tokenizer, labels) };
}

/**
 * Makes what a recipe needs for training: the model (loaded or from nothing), its adapter, renderer and extractor. The workbench's recipe is
 * the resolved one: it names the chat template, so that whoever opens the run later has the same.
 */
export async function openForTraining(
  givenRecipe: Recipe,
  labels: LabelSet,
  options: OpenOptions = {},
): Promise<Workbench> {
  const { recipe, tokenizer, renderer } = await openRenderer(givenRecipe, labels);
  const backend = openBackend(recipe.precision, options.onNotice);
  try {
    const { init, path, storage } = recipe.model;
    const whole = recipe.adapter.method === "full";
    const model = init
      ? await initDecoder(backend, specFromInit(init, tokenizer), recipe.seed, {
          storage,
          trainable: true,
          onProgress: options.onLoad,
        })
      : await loadModel(backend, path as string, storage, whole, tokenizer, options);
    const trainable = attachAdapter(model, recipe.adapter as AdapterSettings, recipe.seed);
    const extractor = extractorOf(recipe, model, tokenizer, renderer, options.decode);
    return { recipe, backend, model, tokenizer, renderer, extractor, trainable, close: () => backend.close() };
  } catch (error) {
    await backend.close();
    throw error;
  }
}

/** Saves what was trained: a PEFT folder for an adapter, a Hugging Face folder `model/` with its tokenizer for a whole model. */
export async function saveTrained(bench: Workbench, folder: RunFolder): Promise<void> {
  const { recipe, model } = bench;
  if (recipe.adapter.method === "lora") {
    await saveLora(model, recipe.adapter, folder.directory, recipe.model.path ?? null);
    return;
  }
  await copyTokenizer(tokenizerPath(recipe), folder.model);
  await saveDecoder(model, folder.model, { dtype: "F32" });
}

export function labelsFile(folder: RunFolder): string {
  return join(folder.directory, "labels.json");
}

/** Saves the label set with the run, so that extraction needs no training data. */
export async function saveLabels(folder: RunFolder, labels: LabelSet): Promise<void> {
  await writeFileAtomic(labelsFile(folder), `${JSON.stringify(labelSetToJson(labels), null, 2)}\n`);
}

/** Opens a finished run for extraction: its best weights with the prompt, template and labels it was trained with. */
export async function openRun(
  directory: string,
  options: OpenOptions = {},
): Promise<Workbench & { folder: RunFolder }> {
  const { folder, recipe: own } = await openRunFolder(directory);
  const recipe = options.storage ? { ...own, model: { ...own.model, storage: options.storage } } : own;
  const lora = recipe.adapter.method === "lora";
  const trained = lora ? join(directory, "adapter_config.json") : join(folder.model, "config.json");
  if (!existsSync(trained)) {
    throw new UserError(`${directory}: training has not finished (there is no ${trained}).`, {
      hint: `Go on with: cre train --resume --run ${directory}`,
    });
  }
  if (lora) await expectSameBase(folder, recipe);
  const labels = parseLabelsJson(
    await readTextFile(labelsFile(folder), "the run's labels", MAX_LABELS_BYTES),
    labelsFile(folder),
  );
  const tokenizer = lora
    ? await openModelTokenizer(tokenizerPath(recipe), { modelType: await modelTypeOf(recipe) })
    : await openModelTokenizer(folder.model);
  const renderer = rendererOf(recipe, tokenizer, labels);
  const backend = openBackend(recipe.precision, options.onNotice);
  try {
    const base = lora ? (recipe.model.path as string) : folder.model;
    const model = await loadModel(backend, base, recipe.model.storage, false, tokenizer, options);
    if (lora) await loadLora(model, directory);
    const extractor = extractorOf(recipe, model, tokenizer, renderer, options.decode);
    return {
      folder,
      recipe,
      backend,
      model,
      tokenizer,
      renderer,
      extractor,
      trainable: [],
      close: () => backend.close(),
    };
  } catch (error) {
    await backend.close();
    throw error;
  }
}
