import { methodOf } from "../adapters/methods.ts";
import { UserError, UserErrors } from "../base/errors.ts";
import type { LabelSet } from "../data/example.ts";
import type { SplitName } from "../data/split.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { AUTO_TEMPLATE, chatTemplate } from "../prompts/chat-template.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import type { RendererOptions } from "../prompts/renderer.ts";
import { answerProblems } from "./answers.ts";
import type { RecipeParts } from "./parts.ts";
import type { Recipe } from "./schema.ts";

/** The surroundings a recipe is checked against; null for a part that could not be opened, which is reported elsewhere. */
export interface RecipeSurroundings {
  spec: DecoderSpec | null;
  tokenizer: RendererOptions["tokenizer"] | null;
  labels: LabelSet | null;
  /** The splits that there are; null when that is not known. */
  splitNames: readonly SplitName[] | null;
  /** Names the file that may have been meant when there is no train split. */
  nearTrain?: string | null;
}

/** One line a problem, with its hint; throws what is not the user's mistake. */
export function problemsOf(error: unknown): string[] {
  if (!(error instanceof UserError)) throw error;
  const hint = error.hint ? ` (${error.hint})` : "";
  if (!(error instanceof UserErrors)) return [`${error.message.replace(/\.$/, "")}${hint}`];
  const title = error.message.slice(0, error.message.indexOf("\n"));
  return error.problems.map((problem) => `${title} ${problem}${hint}`);
}

/** Everything in a recipe that does not fit its model, tokenizer, labels or data; reads no weights. */
export function contentProblems(parts: RecipeParts, around: RecipeSurroundings): string[] {
  const { model, prompt, adapter } = parts;
  const { spec, tokenizer, labels, splitNames } = around;
  const problems: string[] = [];
  const attempt = <T>(make: () => T): T | null => {
    try {
      return make();
    } catch (error) {
      problems.push(...problemsOf(error));
      return null;
    }
  };
  const style = prompt.style === undefined ? null : attempt(() => promptStyle(prompt.style as string));
  // "auto" has become a name by now, or the model is not known.
  const isNamed = prompt.template !== undefined && prompt.template !== AUTO_TEMPLATE;
  const template = isNamed ? attempt(() => chatTemplate(prompt.template as string)) : null;
  if (spec && adapter) problems.push(...methodOf(adapter).problems(adapter, spec));
  const { maxPromptTokens, maxAnswerTokens } = prompt;
  const virtual = adapter ? (methodOf(adapter).virtualTokens?.(adapter) ?? 0) : 0;
  if (spec && maxPromptTokens !== undefined && maxPromptTokens + virtual > spec.maxTokens) {
    const where = model.init ? "model.init" : (model.path ?? "the model");
    const left = virtual > 0 ? `${spec.maxTokens - virtual}: ` : "";
    const less = virtual > 0 ? ` less the ${virtual} virtual tokens` : "";
    problems.push(
      `prompt.maxPromptTokens is ${maxPromptTokens}, expected at most ${left}the ${spec.maxTokens} of ${where}${less}`,
    );
  }
  if (splitNames && !splitNames.includes("train")) {
    const found = splitNames.length > 0 ? splitNames.join(", ") : "no split";
    const near = around.nearTrain ? ` (${around.nearTrain.replace(/\.$/, "")})` : "";
    problems.push(`data.path: ${parts.data.path} has ${found}, expected train${near}`);
  }
  const { patience = 0, validateEvery, validationShare = 0 } = parts.train;
  if (
    patience > 0 &&
    validateEvery !== 0 &&
    validationShare === 0 &&
    splitNames?.includes("train") &&
    !splitNames.includes("valid")
  ) {
    problems.push(`train.patience is ${patience}, but there is no valid split to validate on: expected 0`);
  }
  for (const key of ["negatives", "joinedSentences"] as const) {
    const value = parts.train[key] ?? 0;
    if (value > 0 && labels && labels.noRelation === null) {
      problems.push(
        `train.${key} is ${value}, but no label of the data means no relation: expected 0, or "noRelation" in labels.json`,
      );
    }
  }
  if (style && tokenizer && labels) {
    const limit = maxAnswerTokens ?? Number.POSITIVE_INFINITY;
    // An answer has the same length under every template.
    const found = attempt(() => answerProblems(style, template ?? chatTemplate("plain"), tokenizer, labels, limit));
    problems.push(...(found ?? []));
  }
  return problems;
}

/** A line on prompts whose answer would go beyond what the model was made for; null where the longest prompt leaves room for the longest answer. */
export function contextNotice(
  { maxPromptTokens, maxAnswerTokens }: Recipe["prompt"],
  { maxTokens }: DecoderSpec,
): string | null {
  // The last token of an answer is never read.
  if (maxPromptTokens + maxAnswerTokens - 1 <= maxTokens) return null;
  const sum = `prompt.maxPromptTokens ${maxPromptTokens} and maxAnswerTokens ${maxAnswerTokens}`;
  return `${sum} are more than the ${maxTokens} tokens that the model was made for: after a prompt of nearly that length it answers worse.`;
}

/** A line on a recipe that reads its prompts causally and begins with a model that read them in both directions; else null. */
export function attentionNotice({ prompt, model }: Recipe, { promptAttention }: DecoderSpec): string | null {
  if (promptAttention === "causal" || prompt.attention === "both") return null;
  return `${model.path}: was trained with prompt.attention "both"; this recipe reads its prompts causally.`;
}
