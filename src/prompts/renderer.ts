import { UserError } from "../base/errors.ts";
import { jsonOf } from "../base/json-text.ts";
import { type Example, type LabelSet, quoted } from "../data/example.ts";
import { encodePlain, type Tokenizer } from "../tokenizers/tokenizer.ts";
import { type ChatTemplate, templateText } from "./chat-template.ts";
import type { ParsedAnswer, PromptStyle } from "./relation-prompt.ts";
import { shortenSentence } from "./shorten.ts";

export interface RendererOptions {
  tokenizer: Pick<Tokenizer, "encode" | "encodePlain" | "bosId" | "eosId" | "idOf">;
  style: PromptStyle;
  template: ChatTemplate;
  labels: LabelSet;
  /** A longer prompt has its sentence shortened; counts the begin token and the template. */
  maxPromptTokens: number;
  /** A longer answer is an error; counts the end token. */
  maxAnswerTokens: number;
  /** Whether the prompt begins with the begin token, where the template has one. */
  addBos: boolean;
}

export interface RenderedPrompt {
  ids: number[];
  text: string;
  /** Whether the sentence had to be shortened. */
  truncated: boolean;
}

export interface RenderedExample {
  promptIds: number[];
  /** Ends with the end token; the loss is on these only. */
  answerIds: number[];
  truncated: boolean;
}

/** Turns examples into ids and answers into relations; training, evaluation, extraction and serving share it. */
export interface Renderer {
  readonly style: PromptStyle;
  readonly template: ChatTemplate;
  readonly labels: LabelSet;
  readonly eosId: number;
  /** Throws a UserError when the prompt does not fit even with the entities alone. */
  renderPrompt(example: Example): RenderedPrompt;
  /** Prompt and gold answer; throws a UserError when the example has no relations or either part does not fit. */
  renderExample(example: Example): RenderedExample;
  /** The ids of the answer that names one relation, with the end token. */
  renderAnswer(example: Example, relation: string): number[];
  parse(text: string, example: Example): ParsedAnswer;
  /** The prompt that asks for the mentions of a sentence; one that does not fit is cut at its end. */
  renderMentionPrompt(sentence: string): RenderedPrompt;
  /** The ids of any query in the chat template, however long. */
  encodeQuery(query: string): number[];
  /** The ids of any text as an answer, with the end token, however long. */
  encodeText(text: string): number[];
  /** The ids of the answer that names a mention, with the end token; null when it is too long. */
  renderMention(text: string): number[] | null;
}

/**
 * Makes a renderer. Prompt and answer are tokenized separately (as the CRE-LLM authors' code does), so the ids of a prompt do not depend
 * on its answer. Throws a UserError when the tokenizer lacks a special token that the template needs.
 */
export function createRenderer(options: RendererOptions): Renderer {
  const { tokenizer, style, template, labels, maxPromptTokens, maxAnswerTokens } = options;
  const specialIds = specialIdsOf(template, tokenizer);
  const eosId = template.end === null ? tokenizer.eosId : (specialIds.get(template.end) as number);
  if (eosId === null) throw new UserError("the tokenizer has no end token (EOS), expected one: answers must end.");
  const hasBegin = options.addBos && template.begin === "bos";
  if (hasBegin && tokenizer.bosId === null) {
    throw new UserError("the tokenizer has no begin token (BOS), expected one: the prompt begins with it.");
  }
  const beginIds = hasBegin && tokenizer.bosId !== null ? [tokenizer.bosId] : [];
  const encode = createTextEncoder(tokenizer, specialIds);
  const fixedIds = template.pieces.map((piece) => {
    if (piece.kind === "token") return [specialIds.get(piece.piece) as number];
    return piece.kind === "text" ? encode(piece.text) : null;
  });

  const encodePrompt = (query: string): number[] => {
    const ids = [...beginIds];
    for (const [i, piece] of template.pieces.entries()) {
      const pieceIds = fixedIds[i] ?? (piece.kind === "query" ? encode(piece.before + query + piece.after) : []);
      for (const id of pieceIds) ids.push(id);
    }
    return ids;
  };

  const renderPrompt = (example: Example): RenderedPrompt => {
    const wholeIds = encodePrompt(style.renderQuery(example));
    if (wholeIds.length <= maxPromptTokens) {
      return { ids: wholeIds, text: templateText(template, style.renderQuery(example)), truncated: false };
    }
    const shortest = shortenSentence(example, 0);
    const leastIds = encodePrompt(style.renderQuery(shortest));
    if (leastIds.length > maxPromptTokens) {
      throw new UserError(
        `${nameOf(example)}: the prompt has ${leastIds.length} tokens with the entities alone, expected at most ${maxPromptTokens}.`,
        { hint: "Raise prompt.maxPromptTokens." },
      );
    }
    let fitting = { ids: leastIds, shortened: shortest };
    const fits = (reach: number): boolean => {
      const shortened = shortenSentence(example, reach);
      const ids = encodePrompt(style.renderQuery(shortened));
      if (ids.length > maxPromptTokens) return false;
      fitting = { ids, shortened };
      return true;
    };
    // Doubling first keeps the cost with the tokens that fit, however long the sentence is.
    let tooFar = 1;
    while (tooFar < example.sentence.length && fits(tooFar)) tooFar *= 2;
    for (let reach = Math.floor(tooFar / 2); tooFar - reach > 1; ) {
      const middle = Math.floor((reach + tooFar) / 2);
      if (fits(middle)) reach = middle;
      else tooFar = middle;
    }
    return { ids: fitting.ids, text: templateText(template, style.renderQuery(fitting.shortened)), truncated: true };
  };

  const renderMentionPrompt = (sentence: string): RenderedPrompt => {
    const points = Array.from(sentence);
    for (let length = points.length; ; length = Math.floor(length * 0.9)) {
      const query = style.renderMentionQuery(points.slice(0, length).join(""));
      const ids = encodePrompt(query);
      const truncated = length < points.length;
      if (ids.length <= maxPromptTokens) return { ids, text: templateText(template, query), truncated };
      if (length > 0) continue;
      throw new UserError(
        `${quoted(sentence)}: the prompt for mentions has ${ids.length} tokens without any text, expected at most ${maxPromptTokens}.`,
        { hint: "Raise prompt.maxPromptTokens." },
      );
    }
  };

  const encodeAnswer = (example: Example, text: string): number[] => {
    const ids = encode(text);
    ids.push(eosId);
    if (ids.length <= maxAnswerTokens) return ids;
    throw new UserError(
      `${nameOf(example)}: the answer ${quoted(text)} has ${ids.length} tokens, expected at most ${maxAnswerTokens}.`,
      { hint: "Raise prompt.maxAnswerTokens." },
    );
  };

  return {
    style,
    template,
    labels,
    eosId,
    renderPrompt,
    renderExample(example) {
      const { relations } = example;
      if (relations === undefined || relations.length === 0) {
        throw new UserError(`${nameOf(example)}: has no relations, expected at least one to learn from.`);
      }
      const { ids, truncated } = renderPrompt(example);
      return { promptIds: ids, answerIds: encodeAnswer(example, style.renderAnswer(example, relations)), truncated };
    },
    renderAnswer: (example, relation) => encodeAnswer(example, style.answerFor(example, relation)),
    parse: (text, example) => style.parseAnswer(text, example, labels),
    renderMentionPrompt,
    encodeQuery: encodePrompt,
    encodeText: (text) => [...encode(text), eosId],
    renderMention(text) {
      const ids = [...encode(text), eosId];
      return ids.length <= maxAnswerTokens ? ids : null;
    },
  };
}

/** The ids of the special tokens that a template names. Throws a UserError that lists the missing ones. */
function specialIdsOf(template: ChatTemplate, tokenizer: Pick<Tokenizer, "idOf">): Map<string, number> {
  const names = template.pieces.flatMap((piece) => (piece.kind === "token" ? [piece.piece] : []));
  if (template.end !== null) names.push(template.end);
  const ids = new Map<string, number>();
  const missing: string[] = [];
  for (const name of new Set(names)) {
    const id = tokenizer.idOf(name);
    if (id === null) missing.push(name);
    else ids.set(name, id);
  }
  if (missing.length === 0) return ids;
  throw new UserError(`chat template "${template.name}": the tokenizer has no ${missing.join(", ")}.`, {
    hint: "Does the template belong to this model? prompt.template: auto chooses by the family.",
  });
}

/**
 * An encoder that never makes a template's special token from text. Baichuan2's are symbols that SentencePiece finds in any text: text that
 * looks like one is cut after its first character and the parts are encoded separately (this tokenizer puts no space before a text).
 */
function createTextEncoder(
  tokenizer: Pick<Tokenizer, "encode" | "encodePlain">,
  specialIds: ReadonlyMap<string, number>,
): (text: string) => number[] {
  const found = Array.from(specialIds.keys()).filter((name) =>
    encodePlain(tokenizer, name).includes(specialIds.get(name) as number),
  );
  if (found.length === 0) return (text) => encodePlain(tokenizer, text);
  const literal = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const cut = new RegExp(found.map((name) => `(?<=${literal(name[0])})(?=${literal(name.slice(1))})`).join("|"));
  return (text) => text.split(cut).flatMap((part) => encodePlain(tokenizer, part));
}

function nameOf(example: Example): string {
  const id = example.id === undefined ? "" : ` ${jsonOf(example.id)}`;
  return `example${id} ${quoted(example.sentence)} (${quoted(example.head)}, ${quoted(example.tail)})`;
}
