import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { buildLabelTrie } from "../decode/label-trie.ts";
import type { EndpointAnswer, EndpointClient } from "./client.ts";
import { echoProbabilities } from "./echo-way.ts";
import { byAllowedTokens, forcedTokenScores, namedTokenScores, treeProbabilities } from "./tree-way.ts";

const TOKENS = 200;
const PROMPT = [7, 8, 9];

/** A model whose log probabilities are drawn by all the tokens before. */
function scoresAt(ids: readonly number[]): number[] {
  const random = createRandom(ids.reduce((hash, id) => (Math.imul(hash, 31) + id) >>> 0, 17));
  const logits = Array.from({ length: TOKENS }, () => 4 * random.normal());
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return logits.map((logit) => logit - total);
}

/** Labels "a", "ab…", of 1 to 5 tokens, each with an end token. */
function trieOf(count: number, seed: number) {
  const random = createRandom(seed);
  const texts = new Map<string, number[]>();
  while (texts.size < count) {
    const ids = Array.from({ length: 1 + random.below(5) }, () => 10 + random.below(count > 50 ? 150 : 4));
    texts.set(ids.join(), [...ids, 2]);
  }
  return buildLabelTrie([...texts].map(([label, ids]) => ({ label, ids })));
}

/** A server as vLLM's, without a network. */
function server(named: boolean): EndpointClient & { asked: Record<string, unknown>[] } {
  const asked: Record<string, unknown>[] = [];
  const counts = { requests: 0, retries: 0, cacheHits: 0, promptTokens: 0, answerTokens: 0 };
  return {
    ...{ url: "http://server/v1", model: "m", counts, asked, close: () => {}, models: async () => [] },
    async ask(_route, body): Promise<EndpointAnswer> {
      asked.push(body);
      const scores = scoresAt(body.prompt as number[]);
      const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
      const allowed = body.allowed_token_ids as number[] | undefined;
      const sampled = allowed ? allowed[0] : order[0];
      const wanted = (named && (body.logprob_token_ids as number[])) || order.slice(0, Number(body.logprobs));
      const top = Object.fromEntries([sampled, ...wanted].map((id) => [`token_id:${id}`, scores[id]]));
      const choices = [{ text: "", logprobs: { top_logprobs: [top] } }];
      return { body: { choices }, promptTokens: 0, answerTokens: 0, isCached: false, lostAttempts: 0 };
    },
  };
}

const largest = (a: Float64Array, b: Float64Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

describe("the label tree on a server", () => {
  const echo = async (texts: readonly (readonly number[])[], lengths: readonly number[]) =>
    texts.map((ids, i) =>
      Array.from({ length: lengths[i] }, (_, j) => {
        const place = ids.length - lengths[i] + j;
        return scoresAt(ids.slice(0, place))[ids[place]];
      }),
    );

  it("has the probabilities of reading every label, with far fewer requests than labels", async () => {
    for (const [count, seed] of [
      [2, 1],
      [5, 2],
      [40, 3],
      [300, 4],
    ]) {
      const question = { promptIds: PROMPT, trie: trieOf(count, seed) };
      const whole = await echoProbabilities(question, echo);
      expect(whole.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 9);
      const named = server(true);
      expect(largest(await treeProbabilities(question, namedTokenScores(named)), whole)).toBeLessThan(1e-3);
      if (count >= 40) expect(named.asked.length).toBeLessThan(count / 2);
      const allowed = server(false);
      const scores = forcedTokenScores(allowed, byAllowedTokens);
      expect(largest(await treeProbabilities(question, scores), whole)).toBeLessThan(1e-3);
    }
  });

  it("asks for at most 128 tokens in a request", async () => {
    const one = server(true);
    await treeProbabilities({ promptIds: PROMPT, trie: trieOf(300, 4) }, namedTokenScores(one));
    for (const { logprob_token_ids } of one.asked)
      expect((logprob_token_ids as number[]).length).toBeLessThanOrEqual(128);
  });

  it("refuses a server that ignores the fields", async () => {
    const question = { promptIds: PROMPT, trie: trieOf(40, 3) };
    const asked = treeProbabilities(question, namedTokenScores(server(false)));
    await expect(asked).rejects.toThrow('http://server/v1: does not tell the tokens of "logprob_token_ids".');
  });
});
