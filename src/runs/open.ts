import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { withLayerDecay } from "../adapters/layer-decay.ts";
import { type WeightGroup, weightsOf } from "../adapters/method.ts";
import { attachAdapter, methodOf } from "../adapters/methods.ts";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { byteInstructions, openBackend } from "../compute/open.ts";
import type { LabelSet } from "../data/example.ts";
import { labelSetToJson } from "../data/label-set.ts";
import type { Extractor } from "../extract/extractor.ts";
import { createMentionModel, type MentionModel } from "../extract/mention-finder.ts";
import { USUAL_SCALE } from "../extract/mention-scores.ts";
import { SUMS_FILE, sumsOfTensors } from "../formats/folder-sums.ts";
import { writeFolderSums } from "../formats/folder-sums-write.ts";
import { openHuggingFaceFolder } from "../formats/hf-folder.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { openPeftTensors } from "../formats/peft-folder.ts";
import type { Checksums, TensorSource } from "../formats/tensor-source.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { readSpec } from "../models/families/registry.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import { saveDecoder } from "../models/save.ts";
import type { Renderer } from "../prompts/renderer.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";
import { resolveNames } from "../recipe/resolve.ts";
import type { Recipe } from "../recipe/schema.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import {
  checkVocabulary,
  expectAnswers,
  extractorOf,
  LABELS_FILE,
  placeOptions,
  readLabels,
  rendererOf,
} from "./answering.ts";
import { openCalibration } from "./calibration.ts";
import { CALIBRATION_FILE, type Calibration } from "./calibration-read.ts";
import { openCompanion } from "./companion.ts";
import { COMPANION_FILES, expectNoMixture, type RunCompanion } from "./companion-read.ts";
import { type AdapterSource, openGiven, openGivenLabels, type RunSource, sourceFolder } from "./given-adapter.ts";
import { layerStorageOf } from "./layer-storage.ts";
import { expectRoom, weightNeed } from "./memory.ts";
import { type PreparedRecipe, prepareRecipe } from "./prepare.ts";
import { openRunFolder, type RunFolder } from "./run-folder.ts";
import { baseKey, type SharedBases } from "./shared-bases.ts";
import { openModelTokenizer } from "./tokenizer.ts";
import { findTrained, openTrainedModel, type TrainedResult, tokenizerPath } from "./trained.ts";

/** A recipe with everything open that it names, ready to train or to extract. */
export interface OpenedRecipe {
  recipe: Recipe;
  backend: Backend;
  model: Decoder;
  tokenizer: Tokenizer;
  renderer: Renderer;
  extractor: Extractor;
  /** Finds entities; null for a recipe without the task "mentions". */
  mentions: MentionModel | null;
  /** Of a finished run that has one. */
  companion: RunCompanion | null;
  /** Of a finished run that has one. */
  calibration: Calibration | null;
  /** The trained weights by learning rate; empty when opened for extraction. */
  groups: readonly WeightGroup[];
  /** The weights of all groups in a fixed order. */
  trainable: Weight[];
  close(): Promise<void>;
}

export interface OpenOptions {
  onNotice?: (line: string) => void;
  onLoad?: (done: number, total: number) => void;
  /** Of a recipe that is opened to train: its weights come from a checkpoint. */
  isResumed?: boolean;
  /** Of a run that is opened: how the layers' matrices are kept, instead of the recipe's storage. */
  storage?: ModelStorage;
  /** Replaces single values of the recipe's decoding. */
  decode?: Partial<DecodeSettings>;
  /** Of runs that are opened together: the base models of adapters, each read once. Closing such a run frees nothing; close the bases. */
  bases?: SharedBases;
}

/** Opens the parts of a recipe that turn rows into token ids, without the model's weights; `givenType` is the `model_type` where there is no model. */
export async function openRenderer(
  givenRecipe: Recipe,
  labels: LabelSet,
  givenType?: string,
): Promise<Pick<OpenedRecipe, "recipe" | "tokenizer" | "renderer">> {
  const modelType = givenType ?? (await modelTypeOf(givenRecipe));
  const tokenizer = await openModelTokenizer(tokenizerPath(givenRecipe), { modelType });
  const recipe = resolveNames(givenRecipe, modelType, tokenizer);
  return { recipe, tokenizer, renderer: rendererOf(recipe, tokenizer, labels) };
}

/** The `model_type` of the model that a recipe starts from. */
async function modelTypeOf({ model }: Recipe): Promise<string> {
  if (model.init) return model.init.family;
  const { config, source } = await openCheckpoint(model.path as string);
  await source.close();
  return String(config.model_type);
}

/**
 * Checks a recipe against its model, tokenizer and labels, then loads what it needs for training: see {@link openPrepared}. Throws one
 * UserErrors with every problem before any weight is read.
 */
export async function openForTraining(
  givenRecipe: Recipe,
  labels: LabelSet,
  options: OpenOptions = {},
): Promise<OpenedRecipe> {
  return openPrepared(await prepareRecipe(givenRecipe, labels), options);
}

/**
 * Loads the model of a prepared recipe (or makes it from nothing), adds what the tuning method trains, and closes the checkpoint. The opened
 * recipe is the resolved one: it names the chat template, so the run has the same one whenever it is opened.
 */
export async function openPrepared(prepared: PreparedRecipe, options: OpenOptions = {}): Promise<OpenedRecipe> {
  const { recipe, tokenizer, renderer, spec, base } = prepared;
  const { adapter, train, seed } = recipe;
  const backend = openBackend(recipe.precision, options.onNotice);
  try {
    const trainable = methodOf(adapter).trainsOfBase(adapter, spec);
    const place = placeOptions(recipe, trainable, tokenizer, options.onLoad);
    const model = base ? await loadDecoder(backend, base, place) : await initDecoder(backend, spec, seed, place);
    const { isResumed } = options;
    const groups = withLayerDecay(model, await attachAdapter(model, adapter, seed, { isResumed }), train.layerDecay);
    return openedRecipe(recipe, model, tokenizer, renderer, groups, options);
  } catch (error) {
    await backend.close();
    throw error;
  } finally {
    await prepared.close();
  }
}

function openedRecipe(
  recipe: Recipe,
  model: Decoder,
  tokenizer: Tokenizer,
  renderer: Renderer,
  groups: readonly WeightGroup[],
  { decode = {} }: OpenOptions,
  companion: RunCompanion | null = null,
  calibration: Calibration | null = null,
): OpenedRecipe {
  const { backend } = model;
  const extractor = extractorOf(recipe, { model, tokenizer, renderer, companion, calibration }, decode);
  const { settings } = extractor;
  const scale = calibration?.mentions?.scale ?? USUAL_SCALE;
  const mentions = recipe.tasks.includes("mentions") ? createMentionModel(model, renderer, settings, scale) : null;
  const trainable = weightsOf(groups);
  const close = () => backend.close();
  return {
    recipe,
    backend,
    model,
    tokenizer,
    renderer,
    extractor,
    mentions,
    companion,
    calibration,
    groups,
    trainable,
    close,
  };
}

/** Saves the trained result as its method does: a PEFT folder, or a Hugging Face folder `model/` with its tokenizer; with checksums. */
export async function saveTrained(opened: OpenedRecipe, folder: RunFolder): Promise<void> {
  const { recipe, model } = opened;
  const { saved } = methodOf(recipe.adapter);
  for (const directory of [folder.directory, folder.model]) await rm(join(directory, SUMS_FILE), { force: true });
  if (saved.kind === "adapter") {
    await saved.save(model, recipe.adapter, folder.directory, recipe.model.path ?? null);
    const tensors = await openPeftTensors(folder.directory);
    const names = ["labels.json", "adapter_config.json", ...COMPANION_FILES, CALIBRATION_FILE];
    await writeFolderSums(folder.directory, names, await sumsAndClose(tensors));
    return;
  }
  await copyTokenizer(tokenizerPath(recipe), folder.model);
  await saveDecoder(model, folder.model, { dtype: "F32" });
  const small = (await readdir(folder.model)).filter((name) => !name.endsWith(".safetensors"));
  const { source } = await openHuggingFaceFolder(folder.model);
  await writeFolderSums(folder.model, small, await sumsAndClose(source));
  await writeFolderSums(folder.directory, ["labels.json", ...COMPANION_FILES, CALIBRATION_FILE], {});
}

/** Reads back what was written: a disk that loses bits is noticed now. */
async function sumsAndClose(source: TensorSource): Promise<Checksums> {
  try {
    return await sumsOfTensors(source);
  } finally {
    await source.close();
  }
}

export function labelsFile(folder: RunFolder): string {
  return join(folder.directory, LABELS_FILE);
}

/** Saves the label set with the run, so that extraction needs no training data. */
export async function saveLabels(folder: RunFolder, labels: LabelSet): Promise<void> {
  await writeFileAtomic(labelsFile(folder), `${JSON.stringify(labelSetToJson(labels), null, 2)}\n`);
}

/** The label set that was saved with a run; see {@link readLabels}. */
export const readRunLabels = (folder: RunFolder): Promise<LabelSet> => readLabels(nodeFolder(folder.directory));

/** A finished run or an adapter made elsewhere, with everything that extraction needs but the weights. */
interface OpenedResult {
  folder: RunFolder;
  recipe: Recipe;
  labels: LabelSet;
  labelsFile: string;
  companion: RunCompanion | null;
  calibration: Calibration | null;
  trained: TrainedResult;
  checkpoint: Checkpoint;
  /** Closes the checkpoint, and the adapter. */
  close(): Promise<void>;
}

async function openResult(directory: string, { decode }: OpenOptions): Promise<OpenedResult> {
  const { folder, recipe } = await openRunFolder(directory);
  const trained = await findTrained(folder, recipe);
  const labels = await readRunLabels(folder);
  const companion = await openCompanion(folder, labels);
  const calibration = await openCalibration(folder);
  if (!companion) expectNoMixture({ ...recipe.decode, ...decode }, directory);
  const checkpoint = await openTrainedModel(folder, trained);
  const close = () => checkpoint.source.close();
  return { folder, recipe, labels, labelsFile: labelsFile(folder), companion, calibration, trained, checkpoint, close };
}

async function openGivenResult(source: AdapterSource, { decode }: OpenOptions): Promise<OpenedResult> {
  const given = await openGiven(source);
  try {
    const { labels, file } = await openGivenLabels(source, given.recipe.data.path);
    expectNoMixture({ ...given.recipe.decode, ...decode }, source.adapter);
    return { ...given, labels, labelsFile: file, companion: null, calibration: null };
  } catch (error) {
    await given.close();
    throw error;
  }
}

/**
 * Opens a finished run for extraction: its best weights with the prompt, template and labels it was trained with. Or an adapter that another
 * program made, with those of a recipe.
 */
export async function openTrained(
  source: RunSource,
  options: OpenOptions = {},
): Promise<OpenedRecipe & { folder: RunFolder }> {
  const directory = sourceFolder(source);
  const isRun = typeof source === "string";
  const result = await (isRun ? openResult(source, options) : openGivenResult(source, options));
  const { folder, labels, companion, calibration, trained, checkpoint } = result;
  const { storage = result.recipe.model.storage } = options;
  const recipe = { ...result.recipe, model: { ...result.recipe.model, storage } };
  try {
    const layers = layerStorageOf(
      { ...recipe.decode, ...options.decode },
      storage,
      byteInstructions(),
      options.onNotice,
    );
    const tokenizer = await openModelTokenizer(trained.tokenizer, { modelType: String(checkpoint.config.model_type) });
    const spec = readSpec(checkpoint.config, checkpoint.directory);
    const { maxPromptTokens } = recipe.prompt;
    if (maxPromptTokens > spec.maxTokens) options.onNotice?.(beyondContext(maxPromptTokens, spec.maxTokens));
    const renderer = rendererOf(recipe, tokenizer, labels, spec.maxTokens);
    expectAnswers(recipe, tokenizer, labels, result.labelsFile);
    const bases = trained.adapter && isRun ? options.bases : undefined;
    const key = bases ? await baseKey(folder, recipe, trained.model, layers) : "";
    if (!bases?.has(key)) expectRoom(directory, weightNeed(spec, storage, { layers }), options.onNotice);
    const load = () => loadTrained(recipe, checkpoint, tokenizer, options, layers);
    const model = await (bases ? bases.take(key, load) : load());
    const close = async () => {
      if (!bases) await model.backend.close();
    };
    try {
      await trained.adapter?.load(model, directory);
      return {
        folder,
        ...openedRecipe(recipe, model, tokenizer, renderer, [], options, companion, calibration),
        close,
      };
    } catch (error) {
      await close();
      throw error;
    }
  } finally {
    await result.close();
  }
}

/** A run of an older version, or a recipe that was changed since. */
function beyondContext(maxPromptTokens: number, contextTokens: number): string {
  return `prompt.maxPromptTokens is ${maxPromptTokens}, but the model was made for ${contextTokens} tokens: longer prompts are shortened to these.`;
}

async function loadTrained(
  recipe: Recipe,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  options: OpenOptions,
  layers: WeightStorage,
): Promise<Decoder> {
  const backend = openBackend(recipe.precision, options.onNotice);
  try {
    const place = { ...placeOptions(recipe, false, tokenizer, options.onLoad), layers };
    const model = await loadDecoder(backend, checkpoint, place);
    checkVocabulary(tokenizer, model.spec, checkpoint.directory);
    return model;
  } catch (error) {
    await backend.close();
    throw error;
  }
}
