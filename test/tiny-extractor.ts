import { join } from "node:path";
import type { Backend } from "../src/compute/backend.ts";
import type { LabelSet } from "../src/data/example.ts";
import { createLabelSet } from "../src/data/label-set.ts";
import type { Normalization } from "../src/data/normalize.ts";
import {
  createExtractor,
  type Extractor,
  type ExtractorSettings,
  type MixedCompanion,
} from "../src/extract/extractor.ts";
import { chatTemplate } from "../src/prompts/chat-template.ts";
import { promptStyle } from "../src/prompts/relation-prompt.ts";
import { createRenderer } from "../src/prompts/renderer.ts";
import { openTokenizer } from "../src/tokenizers/open-tokenizer.ts";
import { tinyDecoder } from "./tiny-model.ts";

export const TOKENIZER = join(import.meta.dirname, "..", "models", "small-zh", "tokenizer.model");

export const TINY_LABELS: LabelSet = createLabelSet(
  {
    labels: ["unknown", "收购", "被收购", "合作", "拥有"],
    noRelation: "unknown",
    inverses: { 收购: "被收购" },
    symmetric: ["unknown", "合作"],
  },
  "labels",
);

const SETTINGS: ExtractorSettings = {
  method: "labels",
  bothDirections: false,
  furtherRelations: 1,
  noRelationWeight: 1,
  maxBatchTokens: 8192,
  maxAnswerTokens: 24,
};

/** An extractor over a tiny random model with the project's own tokenizer. */
export async function tinyExtractor(
  backend: Backend,
  /** `normWeight` replaces all weights of the last norm. */
  options: Partial<ExtractorSettings> & {
    style?: string;
    maxPromptTokens?: number;
    labels?: LabelSet;
    normalize?: Normalization;
    normWeight?: number;
    companion?: MixedCompanion | null;
  } = {},
): Promise<Extractor> {
  const {
    style = "marked",
    maxPromptTokens = 200,
    labels = TINY_LABELS,
    normalize,
    normWeight,
    companion,
    ...settings
  } = options;
  const tokenizer = await openTokenizer(TOKENIZER);
  const model = await tinyDecoder(backend, {
    seed: 11,
    spec: { vocabularySize: tokenizer.vocabularySize, layers: 1 },
  });
  const { rows, columns } = model.finalNorm;
  if (normWeight !== undefined) backend.writeWeight(model.finalNorm, new Float32Array(rows * columns).fill(normWeight));
  const merged = { ...SETTINGS, ...settings };
  const renderer = createRenderer({
    tokenizer,
    style: promptStyle(style),
    template: chatTemplate("plain"),
    labels,
    maxPromptTokens,
    maxAnswerTokens: merged.maxAnswerTokens,
    addBos: true,
  });
  return createExtractor(model, tokenizer, renderer, merged, normalize, companion);
}
