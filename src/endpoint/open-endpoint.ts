import { UserError } from "../base/errors.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { labelSetToJson } from "../data/label-set.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { createRenderer } from "../prompts/renderer.ts";
import { resolveRecipe } from "../recipe/read.ts";
import type { Recipe } from "../recipe/schema.ts";
import { decodingOf } from "../runs/answering.ts";
import { openCalibration } from "../runs/calibration.ts";
import type { Calibration } from "../runs/calibration-read.ts";
import { openCompanion } from "../runs/companion.ts";
import type { RunCompanion } from "../runs/companion-read.ts";
import type { EndpointUse, EvaluatedRun } from "../runs/evaluation.ts";
import { openGivenLabels } from "../runs/given-adapter.ts";
import { openRenderer, readRunLabels } from "../runs/open.ts";
import { openRunFolder, runFolder } from "../runs/run-folder.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { EndpointClient } from "./client.ts";
import { createEndpointExtractor } from "./extractor.ts";
import { findWay, listModels } from "./find-way.ts";
import { instructedStyle } from "./instruct.ts";
import { createAsker } from "./question.ts";
import { createShots, type ShotOptions } from "./shots.ts";
import { createSpelling } from "./spelling.ts";
import type { WayName } from "./ways.ts";

/** What is asked, and with which prompt. */
export interface EndpointSource {
  /** A finished run: its prompt, tokenizer, labels, companion and calibration. */
  run?: string;
  /** A recipe for prompt and decoding, instead of a run. */
  recipe?: string;
  /** The folder of the model, for its tokenizer and chat template. */
  base?: string;
  /** labels.json, relation2id.txt, a JSON list or a data folder; default: the data's. */
  labels?: string;
  /** A data folder; its training rows are shown with questions. */
  data?: string;
  way?: WayName;
  /** Null asks without training rows, and with the prompt of the run or the recipe where there is one. */
  shots: ShotOptions | null;
  /** Most tokens of an answer; default: the recipe's, or 64. */
  answerTokens?: number;
  /** Folder for the results; absent for none. */
  output?: string;
}

/** A model on a server, opened to extract and to be evaluated. */
export interface OpenedEndpoint extends EvaluatedRun {
  endpoint: () => EndpointUse;
  /** All that decides its answers. */
  identity: string;
}

const LABEL_TOKENS = 64;
/** The longest prompt, where the server does not tell its model's context. */
const USUAL_CONTEXT = 8192;

/**
 * Opens the prompt, labels and decoding of a run, of a recipe, or of none, finds out how the server can be asked, and makes the extractor.
 * Throws a UserError for a model that the server does not have, and for parts that are missing.
 */
export async function openEndpoint(
  client: EndpointClient,
  source: EndpointSource,
  onNotice: (text: string) => void = () => {},
): Promise<OpenedEndpoint> {
  const parts = await (source.run === undefined ? partsOfRecipe(source) : partsOfRun(source.run));
  const { labels } = parts;
  const isInstructed = source.shots !== null || (source.run === undefined && source.recipe === undefined);
  const shots = isInstructed ? (source.shots ?? { count: 0, by: "nearest" as const, seed: 0 }) : null;
  const rows = shots && shots.count > 0 ? await trainingRows(source, parts.recipe, labels) : [];
  const models = await listModels(client);
  const context = contextOf(models.find(({ id }) => id === client.model));
  const rendered = await rendererParts(source, parts.recipe, labels, onNotice);
  const recipe = rendered?.recipe ?? parts.recipe;
  const maxAnswerTokens = source.answerTokens ?? (isInstructed ? LABEL_TOKENS : recipe.prompt.maxAnswerTokens);
  const recipePrompt = Math.min(recipe.prompt.maxPromptTokens, context ?? Number.POSITIVE_INFINITY);
  const maxPromptTokens = isInstructed ? Math.max(1, (context ?? USUAL_CONTEXT) - maxAnswerTokens) : recipePrompt;
  const shotsOf = shots && shots.count > 0 ? createShots(rows, shots) : null;
  const own = isInstructed ? instructedStyle(labels) : promptStyle(recipe.prompt.style);
  const asker = createAsker({
    labels,
    styleOf: shotsOf ? (example) => instructedStyle(labels, shotsOf(example)) : () => own,
    rendererOf: rendered && ((style) => createRenderer({ ...rendered.options, style, maxPromptTokens })),
    spelling: rendered && createSpelling(rendered.options.tokenizer),
    ...{ maxAnswerTokens, context },
  });
  const way = await findWay(client, asker, { given: source.way, onNotice });
  const { companion, calibration } = isInstructed ? { companion: null, calibration: null } : parts;
  const decode = isInstructed ? { ...recipe.decode, ...PLAIN_DECODING } : recipe.decode;
  const decoding = decodingOf({ ...recipe, decode }, { companion, calibration });
  const extractor = createEndpointExtractor({ asker, way, ...decoding, normalize: recipe.data.normalize ?? "none" });
  const { url, model, counts } = client;
  const use = () => {
    const hasProbabilities = way.kind === "probabilities";
    return { ...{ url, model, way: way.name, about: way.about, hasProbabilities, shots }, ...counts };
  };
  const { data, prompt } = recipe;
  const identity = [url, model, way.about, shots, maxAnswerTokens, extractor.settings, data.normalize, prompt];
  const shown = [...identity, isInstructed, labelSetToJson(labels), rows.map(({ id, sentence }) => [id, sentence])];
  return {
    ...{
      folder: runFolder(source.output ?? source.run ?? url),
      given: null,
      keepsNothing: source.output === undefined,
    },
    ...{ recipe: withData(recipe, source.data), labels, extractor, companion, calibration },
    endpoint: use,
    identity: JSON.stringify(shown),
  };
}

/** Longest prompt and answer together, as vLLM and llama.cpp tell it with their models; null where a server does not. */
function contextOf(model: Record<string, unknown> | undefined): number | null {
  const meta = model?.meta as Record<string, unknown> | null | undefined;
  const told = [model?.max_model_len, meta?.n_ctx].find((value) => typeof value === "number" && value > 0);
  return (told as number | undefined) ?? null;
}

/** Of a model that was not fine-tuned nothing is known that would change its answers. */
const PLAIN_DECODING = { bothDirections: false, furtherRelations: 1, noRelationWeight: 1, companion: "none" as const };

const withData = (recipe: Recipe, data: string | undefined): Recipe =>
  data === undefined ? recipe : { ...recipe, data: { ...recipe.data, path: data } };

/** What a run, or a recipe in its place, says of the answers. */
interface AnsweringParts {
  recipe: Recipe;
  labels: LabelSet;
  companion: RunCompanion | null;
  calibration: Calibration | null;
}

async function partsOfRun(directory: string): Promise<AnsweringParts> {
  const { folder, recipe } = await openRunFolder(directory);
  const labels = await readRunLabels(folder);
  const companion = await openCompanion(folder, labels);
  return { recipe, labels, companion, calibration: await openCalibration(folder) };
}

async function partsOfRecipe({ recipe: file, base, labels: given, data }: EndpointSource): Promise<AnsweringParts> {
  const overrides = ["decode.companion=none", ...(base === undefined ? [] : [`model.path=${JSON.stringify(base)}`])];
  const values = { decode: { companion: "none" }, ...(base === undefined ? {} : { model: { path: base } }) };
  const { recipe } = await resolveRecipe(file === undefined ? { values } : { file, overrides });
  const { labels } = await openGivenLabels({ adapter: "--endpoint", labels: given }, data ?? recipe.data.path);
  return { recipe, labels, companion: null, calibration: null };
}

/** The rows that are shown with questions. */
async function trainingRows(
  { data, labels: file }: EndpointSource,
  recipe: Recipe,
  labels: LabelSet,
): Promise<Example[]> {
  const folder = data ?? recipe.data.path ?? file;
  const hint = "Give a data folder with training rows: --data DIR for cre evaluate, --labels DIR for cre extract.";
  if (folder === undefined) throw new UserError("--shots: needs training rows.", { hint });
  const dataset = await openDataset(folder, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
  const { examples } = await dataset.split("train", { onBadRow: "skip" });
  if (examples.length > 0) return examples;
  throw new UserError(`${folder}: has no training rows, expected some for --shots.`, { hint });
}

/** The renderer of the model's own tokenizer; null where nothing names one. */
async function rendererParts(
  { run, recipe: file, base }: EndpointSource,
  given: Recipe,
  labels: LabelSet,
  onNotice: (text: string) => void,
): Promise<{
  recipe: Recipe;
  options: Omit<Parameters<typeof createRenderer>[0], "style" | "maxPromptTokens"> & { tokenizer: Tokenizer };
} | null> {
  if (run === undefined && file === undefined && base === undefined) return null;
  // The chat template of the model's family, where no recipe says which.
  const isNamed = run !== undefined || file !== undefined;
  const wanted: Recipe = isNamed ? given : { ...given, prompt: { ...given.prompt, template: "auto" } };
  try {
    const { recipe, tokenizer, renderer } = await openRenderer(wanted, labels);
    const options = { tokenizer, template: renderer.template, labels, addBos: tokenizer.bosId !== null };
    return { recipe, options: { ...options, maxAnswerTokens: recipe.prompt.maxAnswerTokens } };
  } catch (error) {
    if (!(error instanceof UserError) || base !== undefined) throw error;
    onNotice(`asked without token ids: ${error.message}`);
    return null;
  }
}
