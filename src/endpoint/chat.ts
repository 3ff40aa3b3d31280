import { UserError } from "../base/errors.ts";
import { type AskOptions, type EndpointClient, EndpointError } from "./client.ts";

/** A turn of a chat, as OpenAI's API has it. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A question to be answered with text: a chat, or the beginning of a text (as text or as token ids). */
export interface TextQuestion {
  prompt: readonly ChatMessage[] | string | readonly number[];
  maxTokens: number;
  /** Default 0. */
  temperature?: number;
  seed?: number;
  /** Most likely tokens to tell at each place; absent for no probabilities. */
  topLogprobs?: number;
  stop?: readonly string[];
  /** Further fields of the request, such as the form of the answer. */
  form?: Record<string, unknown>;
}

/** A token of an answer with its natural log probability. */
export interface AnswerToken {
  text: string;
  logprob: number;
  top: { text: string; logprob: number }[];
}

export interface TextAnswer {
  text: string;
  finishReason: string | null;
  /** Null where the server gives none. */
  tokens: AnswerToken[] | null;
  usage: { promptTokens: number; answerTokens: number };
  isCached: boolean;
  /** See `EndpointAnswer`. */
  lostAttempts: number;
  /** The whole first choice, for what a server adds. */
  choice: Record<string, unknown>;
}

/** Asks questions; one question is one request, unless the server refuses a field that can be left out. */
export type AskText = (question: TextQuestion, options?: Pick<AskOptions, "mayRepeat">) => Promise<TextAnswer>;

/** What a server refuses and how a request does without. */
const CONCESSIONS: { pattern: RegExp; name: string; change(body: Record<string, unknown>): Record<string, unknown> }[] =
  [
    { pattern: /max_completion_tokens/i, name: "max_tokens", change: renamedLimit },
    { pattern: /logprobs/i, name: "logprobs", change: (body) => without(body, ["logprobs", "top_logprobs"]) },
    { pattern: /\bseed\b/i, name: "seed", change: (body) => without(body, ["seed"]) },
    { pattern: /temperature/i, name: "temperature", change: (body) => without(body, ["temperature"]) },
  ];

function renamedLimit({ max_tokens, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return max_tokens === undefined ? rest : { ...rest, max_completion_tokens: max_tokens };
}

function without(body: Record<string, unknown>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name)));
}

/** Makes an asker for a server. What the server refuses (the seed, probabilities, a temperature) is left out from then on; `onNotice` hears it once. */
export function createAskText(client: EndpointClient, onNotice: (text: string) => void = () => {}): AskText {
  const conceded = new Set<(typeof CONCESSIONS)[number]>();
  return async (question, options) => {
    const isChat = isMessages(question.prompt);
    const asked = isChat ? chatBody(question) : completionBody(question);
    for (;;) {
      let body: Record<string, unknown> = asked;
      for (const { change } of conceded) body = change(body);
      try {
        const answer = await client.ask(isChat ? "chat/completions" : "completions", body, options);
        return textAnswer(answer, isChat, client.url);
      } catch (error) {
        if (!(error instanceof EndpointError) || (error.status !== 400 && error.status !== 422)) throw error;
        const found = CONCESSIONS.find((one) => {
          if (!one.pattern.test(error.message)) return false;
          return JSON.stringify(one.change(body)) !== JSON.stringify(body);
        });
        if (!found) throw error;
        if (!conceded.has(found)) onNotice(`the server refuses "${found.name}": asked without it.`);
        conceded.add(found);
      }
    }
  };
}

const isMessages = (prompt: TextQuestion["prompt"]): prompt is readonly ChatMessage[] =>
  typeof prompt !== "string" && typeof prompt[0] === "object";

function commonBody({ maxTokens, temperature = 0, seed, stop, form }: TextQuestion): Record<string, unknown> {
  return {
    max_tokens: maxTokens,
    temperature,
    ...(seed === undefined ? {} : { seed }),
    ...(stop === undefined ? {} : { stop }),
    ...form,
  };
}

function chatBody(question: TextQuestion): Record<string, unknown> {
  const { prompt, topLogprobs } = question;
  const scores = topLogprobs === undefined ? {} : { logprobs: true, top_logprobs: topLogprobs };
  return { messages: prompt, ...commonBody(question), ...scores };
}

function completionBody(question: TextQuestion): Record<string, unknown> {
  const { prompt, topLogprobs } = question;
  return { prompt, ...commonBody(question), ...(topLogprobs === undefined ? {} : { logprobs: topLogprobs }) };
}

/** The first choice of an answer. Throws a UserError for an answer without one. */
export function firstChoice(body: Record<string, unknown>, url: string): Record<string, unknown> {
  const choice = Array.isArray(body.choices) ? body.choices[0] : undefined;
  if (typeof choice === "object" && choice !== null) return choice;
  throw new UserError(`${url}: the answer has no "choices", expected one of OpenAI's API.`);
}

function textAnswer(
  { body, promptTokens, answerTokens, isCached, lostAttempts }: Awaited<ReturnType<EndpointClient["ask"]>>,
  isChat: boolean,
  url: string,
): TextAnswer {
  const choice = firstChoice(body, url);
  const content = isChat ? (choice.message as Record<string, unknown> | null)?.content : choice.text;
  return {
    // A model that refuses, or whose thoughts used up all tokens, has no content.
    text: typeof content === "string" ? content : "",
    finishReason: typeof choice.finish_reason === "string" ? choice.finish_reason : null,
    tokens: tokensOf(choice.logprobs, isChat),
    usage: { promptTokens, answerTokens },
    ...{ isCached, lostAttempts, choice },
  };
}

function tokensOf(logprobs: unknown, isChat: boolean): AnswerToken[] | null {
  if (typeof logprobs !== "object" || logprobs === null) return null;
  if (isChat) {
    const { content } = logprobs as { content?: unknown };
    if (!Array.isArray(content)) return null;
    return content.map(({ token, logprob, top_logprobs: top }) => ({
      text: String(token),
      logprob: Number(logprob),
      top: list(top).map((one) => ({ text: String(one.token), logprob: Number(one.logprob) })),
    }));
  }
  const { tokens, token_logprobs, top_logprobs } = logprobs as Record<string, unknown>;
  if (!Array.isArray(tokens) || !Array.isArray(token_logprobs)) return null;
  const tops = list(top_logprobs);
  return tokens.map((text, i) => ({
    text: String(text),
    logprob: Number(token_logprobs[i]),
    top: Object.entries(tops[i] ?? {}).map(([other, logprob]) => ({ text: other, logprob: Number(logprob) })),
  }));
}

const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value : []);
