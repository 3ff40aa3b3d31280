import type { Example } from "../data/example.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { Renderer } from "./renderer.ts";

export interface ExplainedToken {
  id: number;
  /** As the vocabulary writes it. */
  piece: string;
}

/** What a model reads for an example, and what it could answer. */
export interface ExplainedQuestion {
  head: string;
  tail: string;
  prompt: {
    /** With special tokens by their names, the begin token included. */
    text: string;
    tokens: ExplainedToken[];
    /** Whether the sentence was shortened to fit. */
    truncated: boolean;
  };
  /** The answer that names each label and nothing else, in the label set's order. */
  answers: { label: string; isGold: boolean; text: string; tokens: ExplainedToken[] }[];
}

/** Renders an example as training and extraction do, and names every token. Throws a UserError where the renderer does. */
export function explainQuestion(
  renderer: Renderer,
  tokenizer: Pick<Tokenizer, "bosId" | "pieceOf">,
  example: Example,
): ExplainedQuestion {
  const { ids, text, truncated } = renderer.renderPrompt(example);
  const named = (ofIds: readonly number[]) => ofIds.map((id) => ({ id, piece: tokenizer.pieceOf(id) }));
  const tokens = named(ids);
  const hasBegin = renderer.template.begin === "bos" && tokenizer.bosId !== null && ids[0] === tokenizer.bosId;
  return {
    head: example.head,
    tail: example.tail,
    prompt: { text: hasBegin ? tokens[0].piece + text : text, tokens, truncated },
    answers: renderer.labels.labels.map((label) => ({
      label,
      isGold: example.relations?.includes(label) ?? false,
      text: renderer.style.answerFor(example, label),
      tokens: named(renderer.renderAnswer(example, label)),
    })),
  };
}
