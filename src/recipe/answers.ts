import { type Example, type LabelSet, quoted } from "../data/example.ts";
import type { ChatTemplate } from "../prompts/chat-template.ts";
import type { PromptStyle } from "../prompts/relation-prompt.ts";
import { createRenderer, type RendererOptions } from "../prompts/renderer.ts";

/** Most labels that one problem names. */
const MOST_LABELS = 10;

/** The shortest pair of entities: an answer about others is no shorter. */
const SHORTEST: Example = { sentence: "甲乙", head: "甲", tail: "乙" };

/**
 * Labels that a model can never answer with: those whose answer has too many tokens, and those with the answer of another, in one problem
 * each. Throws a UserError when the tokenizer lacks what the template needs.
 */
export function answerProblems(
  style: PromptStyle,
  template: ChatTemplate,
  tokenizer: RendererOptions["tokenizer"],
  labels: LabelSet,
  maxAnswerTokens: number,
): string[] {
  const unlimited = { maxPromptTokens: Number.POSITIVE_INFINITY, maxAnswerTokens: Number.POSITIVE_INFINITY };
  const addBos = tokenizer.bosId !== null;
  const renderer = createRenderer({ tokenizer, style, template, labels, addBos, ...unlimited });
  const answers = labels.labels.map((label) => ({ label, ids: renderer.renderAnswer(SHORTEST, label) }));
  const problems: string[] = [];
  const tooLong = answers.filter(({ ids }) => ids.length > maxAnswerTokens);
  if (tooLong.length > 0) {
    const named = tooLong.map(({ label, ids }) => `${quoted(label, 60)} (${ids.length} tokens)`);
    problems.push(
      `prompt.maxAnswerTokens is ${maxAnswerTokens}, expected at least ${Math.max(...tooLong.map(({ ids }) => ids.length))}: ` +
        `in the labels (labels.json, relation2id.txt) the answer is longer for ${listed(named)}`,
    );
  }
  const labelOf = new Map<string, string>();
  const alike = answers.flatMap(({ label, ids }) => {
    const key = ids.join();
    const earlier = labelOf.get(key);
    if (earlier === undefined) labelOf.set(key, label);
    return earlier === undefined ? [] : [`${quoted(label)} as ${quoted(earlier)}`];
  });
  if (alike.length > 0) {
    problems.push(
      `the labels (labels.json, relation2id.txt) cannot be told apart: the tokenizer reads ${listed(alike)}, expected different tokens for each`,
    );
  }
  return problems;
}

function listed(names: readonly string[]): string {
  const more = names.length > MOST_LABELS ? ` and ${names.length - MOST_LABELS} more` : "";
  return `${names.slice(0, MOST_LABELS).join(", ")}${more}`;
}
