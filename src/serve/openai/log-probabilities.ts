import type { ScoredToken } from "../../decode/score-tokens.ts";
import type { Tokenizer } from "../../tokenizers/tokenizer.ts";

/** OpenAI's form of probabilities of a chat completion: a token with its bytes and the most likely ones. */
export function chatLogProbabilities(tokens: readonly ScoredToken[], tokenizer: Pick<Tokenizer, "decode">) {
  const one = (id: number, logProbability: number | null) => {
    const token = textOf(tokenizer, id);
    return { token, logprob: logProbability ?? LEAST, bytes: [...Buffer.from(token)] };
  };
  return {
    content: tokens.map(({ id, logProbability, top }) => ({
      ...one(id, logProbability),
      top_logprobs: top.map((likely) => one(likely.id, likely.logProbability)),
    })),
    refusal: null,
  };
}

/**
 * OpenAI's form of probabilities of a completion: parallel lists. `offset` is where the first token begins in the text. With `byId` tokens are told
 * as vLLM does it ("token_id:17"): texts of tokens are ambiguous.
 */
export function completionLogProbabilities(
  tokens: readonly ScoredToken[],
  tokenizer: Pick<Tokenizer, "decode">,
  offset: number,
  byId = false,
) {
  const nameOf = (id: number) => (byId ? `token_id:${id}` : textOf(tokenizer, id));
  const ids = tokens.map(({ id }) => id);
  return {
    tokens: ids.map(nameOf),
    token_logprobs: tokens.map(({ logProbability }) => logProbability),
    top_logprobs: tokens.map(({ top, logProbability }) =>
      logProbability === null
        ? null
        : Object.fromEntries(top.map((likely) => [nameOf(likely.id), likely.logProbability])),
    ),
    text_offset: ids.map((_, i) => offset + tokenizer.decode(ids.slice(0, i)).length),
  };
}

/** OpenAI's own number for a token that is nearly impossible. */
const LEAST = -9999;

const textOf = (tokenizer: Pick<Tokenizer, "decode">, id: number) => tokenizer.decode([id]);
