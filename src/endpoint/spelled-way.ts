import { UserError } from "../base/errors.ts";
import { firstChoice } from "./chat.ts";
import type { EndpointClient } from "./client.ts";
import type { EchoScores } from "./echo-way.ts";
import type { Spelling } from "./spelling.ts";
import { IGNORED_MASS, type TokenScores } from "./tree-way.ts";

// Scores from servers that read texts and tell tokens by their texts, as llama-cpp-python's does. What they read is compared with the ids of the
// model's tokenizer by its number of tokens, and a token counts by its text only where no other one has it.

/** Most likely tokens that are asked for first. A server that tells all of them needs longer for each one. */
const MOST_LIKELY = 50;

/**
 * Scores by `logprobs` behind a text: the most likely tokens by one request, all tokens by a second where some that could matter are missing. Tokens
 * that texts do not tell apart are read by `echo`, and so is a place where the most likely token is the end: the server tells nothing there.
 */
export function spelledTokenScores(client: EndpointClient, spelling: Spelling, attempts?: number): TokenScores {
  const echo = spelledEcho(client, spelling, attempts);
  return async (ids, tokens) => {
    const names = tokens.map((token) => spelling.nameOf(token));
    const prompt = spelling.textOf(ids);
    for (const count of names.includes(null) ? [] : [Math.min(MOST_LIKELY, spelling.tokenCount), spelling.tokenCount]) {
      const request = { prompt, max_tokens: 1, temperature: 0, logprobs: count };
      const { body } = await client.ask("completions", request, { attempts });
      expectTokens(client, body, ids.length);
      const top = (firstChoice(body, client.url) as { logprobs?: { top_logprobs?: unknown[] } | null }).logprobs
        ?.top_logprobs?.[0];
      if (typeof top !== "object" || top === null) break;
      const told = top as Record<string, number>;
      const least = Object.values(told).reduce((a, b) => Math.min(a, b), 0);
      const missing = names.filter((name) => typeof told[name as string] !== "number").length;
      if (missing * Math.exp(least) <= IGNORED_MASS) return names.map((name) => told[name as string] ?? least);
    }
    const scores = await Promise.all(tokens.map((token) => echo([[...ids, token]], [1])));
    return scores.map(([[score]]) => score);
  };
}

/** Scores by `echo` of texts, one request for each: the server reads a text whole and continues it by a token that nobody needs. */
export function spelledEcho(client: EndpointClient, spelling: Spelling, attempts?: number): EchoScores {
  const one = async (ids: readonly number[], count: number): Promise<number[]> => {
    // For llama-cpp-python's server zero means no limit.
    const request = { prompt: spelling.textOf(ids), echo: true, max_tokens: 1, logprobs: 1, temperature: 0 };
    const { body } = await client.ask("completions", request, { attempts });
    const made = expectTokens(client, body, ids.length);
    const { logprobs } = firstChoice(body, client.url) as { logprobs?: { token_logprobs?: unknown } | null };
    const scores = logprobs?.token_logprobs;
    const read = Array.isArray(scores) ? scores.slice(0, scores.length - made) : [];
    // The begin token may be left out; any other length would be scores of other places.
    const isWhole = read.length === ids.length || (spelling.hasBegin(ids) && read.length === ids.length - 1);
    const last = isWhole ? read.slice(read.length - count) : [];
    if (last.length === count && last.every((score) => typeof score === "number")) return last;
    throw new UserError(`${client.url}: does not tell the probabilities of a text's tokens with "echo".`);
  };
  return (texts, counts) => Promise.all(texts.map((ids, i) => one(ids, counts[i])));
}

/** Checks that the server read the tokens of the model's tokenizer; returns the number of those that it made. */
function expectTokens(client: EndpointClient, body: Record<string, unknown>, expected: number): number {
  const { prompt_tokens: read, completion_tokens: made } = (body.usage ?? {}) as Record<string, unknown>;
  if (read !== expected)
    throw new UserError(
      `${client.url}: reads a question as ${String(read)} tokens, expected ${expected} by the model's tokenizer.`,
      { hint: "Another way of asking does not need equal tokens: --way choice or --way generate." },
    );
  return typeof made === "number" ? made : 0;
}
