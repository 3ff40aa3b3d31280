import { UserError, UserErrors } from "../base/errors.ts";
import { type Folder, readFolderText } from "../base/folder.ts";
import type { LabelSet } from "../data/example.ts";
import { parseLabelsJson } from "../data/label-set.ts";
import type { MixedCompanion } from "../extract/decoding.ts";
import { createExtractor, type Extractor, type ExtractorSettings } from "../extract/extractor.ts";
import type { Decoder } from "../models/decoder.ts";
import type { PlaceOptions } from "../models/place.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { chatTemplate } from "../prompts/chat-template.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { createRenderer, type Renderer } from "../prompts/renderer.ts";
import type { AnsweringRecipe, DecodeSettings } from "../recipe/answer-schema.ts";
import { answerProblems } from "../recipe/answers.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { type Calibration, choiceOf, mixtureOf, scaleOf } from "./calibration-read.ts";
import type { RunCompanion } from "./companion-read.ts";

// What makes an extractor of the parts of a run, on Node and in browsers.

/** Checks a tokenizer against a model's vocabulary; the model may have padding rows, never too few. Throws a UserError. */
export function checkVocabulary(tokenizer: Tokenizer, spec: DecoderSpec, where: string): void {
  if (tokenizer.vocabularySize > spec.vocabularySize) {
    throw new UserError(
      `${where}: the tokenizer has ${tokenizer.vocabularySize} pieces, but the model's vocabulary is ${spec.vocabularySize}.`,
      { hint: "Does the tokenizer belong to this model?" },
    );
  }
}

/** The renderer of a resolved recipe; no prompt is longer than the model's context of `contextTokens`. */
export function rendererOf(
  { prompt }: Pick<AnsweringRecipe, "prompt">,
  tokenizer: Tokenizer,
  labels: LabelSet,
  contextTokens = Number.POSITIVE_INFINITY,
): Renderer {
  const { style, template, maxPromptTokens, maxAnswerTokens } = prompt;
  return createRenderer({
    tokenizer,
    style: promptStyle(style),
    template: chatTemplate(template),
    labels,
    maxPromptTokens: Math.min(maxPromptTokens, contextTokens),
    maxAnswerTokens,
    addBos: tokenizer.bosId !== null,
  });
}

/** The file of a run with its label set. */
export const LABELS_FILE = "labels.json";
const MAX_LABELS_BYTES = 4_000_000;

/** The label set that was saved with a run. Throws a UserError when it cannot be read. */
export async function readLabels(run: Folder): Promise<LabelSet> {
  const text = await readFolderText(run, LABELS_FILE, "the run's labels", MAX_LABELS_BYTES);
  return parseLabelsJson(text, run.path(LABELS_FILE));
}

/** How the weights of a recipe's model are placed. */
export function placeOptions(
  { model: { storage }, prompt }: Pick<AnsweringRecipe, "model" | "prompt">,
  trainable: PlaceOptions["trainable"],
  { vocabularySize: tokenCount }: Tokenizer,
  onProgress: PlaceOptions["onProgress"],
): PlaceOptions {
  return { storage, trainable, tokenCount, promptAttention: prompt.attention ?? "causal", onProgress };
}

/** The parts of a run that answer. */
export interface AnsweringParts {
  model: Decoder;
  tokenizer: Tokenizer;
  renderer: Renderer;
  companion: RunCompanion | null;
  calibration: Calibration | null;
}

/** How a run with these parts decodes; `decode` replaces single values of its recipe's decoding. */
export function decodingOf(
  recipe: Pick<AnsweringRecipe, "prompt" | "decode">,
  { companion, calibration }: Pick<AnsweringParts, "companion" | "calibration">,
  decode: Partial<DecodeSettings> = {},
): { settings: ExtractorSettings; companion: MixedCompanion | null } {
  const wanted = { ...recipe.decode, ...decode };
  const mixture = companion ? mixtureOf(companion, wanted) : null;
  const settings = {
    ...wanted,
    ...choiceOf(wanted, calibration, mixture !== null),
    scale: scaleOf(calibration, mixture),
    isFitted: wanted.noRelationWeight === "auto",
    maxAnswerTokens: recipe.prompt.maxAnswerTokens,
  };
  return { settings, companion: companion && mixture ? { model: companion.model, mixture } : null };
}

/** The extractor of a resolved recipe; `decode` replaces single values of its decoding. */
export function extractorOf(
  recipe: Pick<AnsweringRecipe, "data" | "prompt" | "decode">,
  parts: AnsweringParts,
  decode: Partial<DecodeSettings> = {},
): Extractor {
  const { settings, companion } = decodingOf(recipe, parts, decode);
  const { model, tokenizer, renderer } = parts;
  return createExtractor(model, tokenizer, renderer, settings, recipe.data.normalize, companion);
}

/** Throws a UserErrors for labels that were changed after the training to ones that cannot be answered with. */
export function expectAnswers(
  { prompt }: Pick<AnsweringRecipe, "prompt">,
  tokenizer: Tokenizer,
  labels: LabelSet,
  file: string,
): void {
  const { style, template, maxAnswerTokens } = prompt;
  const problems = answerProblems(promptStyle(style), chatTemplate(template), tokenizer, labels, maxAnswerTokens);
  if (problems.length > 0) throw new UserErrors(`${file}: the labels cannot be answered with:`, problems);
}
