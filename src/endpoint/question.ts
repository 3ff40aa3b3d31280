import type { Example, LabelSet } from "../data/example.ts";
import { buildLabelTrie, type LabelTrie } from "../decode/label-trie.ts";
import type { ParsedAnswer, PromptStyle } from "../prompts/relation-prompt.ts";
import type { Renderer } from "../prompts/renderer.ts";
import { readAnswer } from "./instruct.ts";
import type { Spelling } from "./spelling.ts";

/** A question about an example, in the forms that ways of asking need. */
export interface EndpointQuestion {
  example: Example;
  /** What a user would ask in a chat. */
  text: string;
  /** The answer of each label, in the label set's order. */
  answers: readonly string[];
  /** The prompt and the answers as token ids of the model; null without its tokenizer. */
  tokens: { promptIds: readonly number[]; trie: LabelTrie } | null;
  truncated: boolean;
  /** The style that reads the answer. */
  style: PromptStyle;
}

/** Turns examples into questions and texts into relations. */
export interface Asker {
  readonly labels: LabelSet;
  /** Whether questions have token ids. */
  readonly hasTokens: boolean;
  /** Token ids as text; null without the model's tokenizer. */
  readonly spelling: Spelling | null;
  readonly maxAnswerTokens: number;
  /** Longest prompt and answer together; null where nobody knows. */
  readonly context: number | null;
  /** Throws a UserError for an example whose prompt does not fit. */
  questionOf(example: Example): EndpointQuestion;
  parse(text: string, question: EndpointQuestion): ParsedAnswer;
}

export interface AskerOptions {
  labels: LabelSet;
  /** The style of a question; it may differ by its shots. */
  styleOf(example: Example): PromptStyle;
  /** The renderer of a style; null without the model's tokenizer. */
  rendererOf: ((style: PromptStyle) => Renderer) | null;
  spelling: Spelling | null;
  maxAnswerTokens: number;
  context: number | null;
}

/** Makes an asker. All styles of one asker have the same answers. */
export function createAsker(options: AskerOptions): Asker {
  const { labels, styleOf, rendererOf, spelling, maxAnswerTokens, context } = options;
  const renderers = new Map<PromptStyle, Renderer>();
  let common: LabelTrie | null = null;
  const trieOf = (renderer: Renderer, example: Example): LabelTrie => {
    const build = () =>
      buildLabelTrie(labels.labels.map((label) => ({ label, ids: renderer.renderAnswer(example, label) })));
    if (renderer.style.answersNameEntities) return build();
    common ??= build();
    return common;
  };
  const tokensOf = (style: PromptStyle, example: Example) => {
    if (rendererOf === null) return { tokens: null, truncated: false };
    let renderer = renderers.get(style);
    if (!renderer) {
      renderer = rendererOf(style);
      // A style with shots belongs to one question.
      if (renderers.size === 0) renderers.set(style, renderer);
    }
    const { ids, truncated } = renderer.renderPrompt(example);
    return { tokens: { promptIds: ids, trie: trieOf(renderer, example) }, truncated };
  };
  return {
    labels,
    hasTokens: rendererOf !== null,
    spelling,
    maxAnswerTokens,
    context,
    questionOf(example) {
      const style = styleOf(example);
      const answers = labels.labels.map((label) => style.answerFor(example, label));
      return { example, text: style.renderQuery(example), answers, style, ...tokensOf(style, example) };
    },
    parse: (text, { example, style }) => readAnswer(text, example, labels, style),
  };
}
