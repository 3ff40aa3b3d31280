import { UserError } from "../base/errors.ts";
import { factsOf, type TrieFacts } from "../decode/expand-trie.ts";
import type { LabelTrie } from "../decode/label-trie.ts";
import { firstChoice } from "./chat.ts";
import type { EndpointClient } from "./client.ts";
import type { EndpointQuestion } from "./question.ts";

/** The log probabilities of some tokens behind a text of token ids. */
export type TokenScores = (ids: readonly number[], tokens: readonly number[]) => Promise<number[]>;

/** vLLM's own limit of `logprob_token_ids`. */
const MAX_TOKENS_PER_REQUEST = 128;
/** vLLM's usual limit of `logprobs` (--max-logprobs). */
const MOST_LIKELY = 20;
/** The share of the probability that tokens outside of the most likely ones may have together without being asked for. */
export const IGNORED_MASS = 1e-5;
/** As MISSING_MASS of `expandTries`, and less: that reads further nodes in the same pass, and a companion raises what the model finds improbable. */
const UNREAD_MASS = 1e-6;

/** Field that has vLLM tell tokens by their ids: texts of tokens are ambiguous. */
const BY_ID = { return_tokens_as_token_ids: true };

export interface ScoreOptions {
  /** Most attempts of a request, in the place of the client's. */
  attempts?: number;
  /** Most likely tokens that are asked for first. */
  mostLikely?: number;
}

/** Makes the answer be one token, and has its probability told as it is without that. */
type Force = (token: number) => Record<string, unknown>;

/** vLLM's `allowed_token_ids`. Needs `--logprobs-mode raw_logprobs`, its default. */
export const byAllowedTokens: Force = (token) => ({ allowed_token_ids: [token] });
/** OpenAI's `logit_bias`, on servers that tell probabilities from before it, as llama.cpp does. */
export const byLogitBias: Force = (token) => ({ logit_bias: { [token]: 100 } });

/** Scores by vLLM's `logprob_token_ids`: one request for all tokens of a place. */
export function namedTokenScores(client: EndpointClient, { attempts }: ScoreOptions = {}): TokenScores {
  return async (ids, tokens) => {
    const parts: number[][] = [];
    for (let i = 0; i < tokens.length; i += MAX_TOKENS_PER_REQUEST)
      parts.push(tokens.slice(i, i + MAX_TOKENS_PER_REQUEST));
    const scores = await Promise.all(
      parts.map(async (part) => {
        const body = { prompt: ids, max_tokens: 1, temperature: 0, logprobs: 1, logprob_token_ids: part, ...BY_ID };
        const known = likelyTokens((await client.ask("completions", body, { attempts })).body, client.url);
        return part.map((token) => known.get(token) ?? Number.NaN);
      }),
    );
    const all = scores.flat();
    if (all.some(Number.isNaN)) throw new UserError(`${client.url}: does not tell the tokens of "logprob_token_ids".`);
    return all;
  };
}

/** Scores by the most likely tokens, in one request, and one more for each further token that could matter, which the server is forced to make. */
export function forcedTokenScores(
  client: EndpointClient,
  force: Force,
  { attempts, mostLikely = MOST_LIKELY }: ScoreOptions = {},
): TokenScores {
  const one = async (ids: readonly number[], token: number): Promise<number> => {
    const body = { prompt: ids, max_tokens: 1, temperature: 0, logprobs: 1, ...force(token), ...BY_ID };
    const score = likelyTokens((await client.ask("completions", body, { attempts })).body, client.url).get(token);
    if (score !== undefined) return score;
    throw new UserError(`${client.url}: does not tell the token of "${Object.keys(force(token))[0]}".`);
  };
  return async (ids, tokens) => {
    const body = { prompt: ids, max_tokens: 1, temperature: 0, logprobs: mostLikely, ...BY_ID };
    const known = likelyTokens((await client.ask("completions", body, { attempts })).body, client.url);
    const least = known.size === 0 ? 0 : Math.min(...known.values());
    const missing = tokens.filter((token) => !known.has(token));
    const isLittle = missing.length * Math.exp(least) <= IGNORED_MASS;
    const found = await Promise.all(missing.map((token) => (isLittle ? least : one(ids, token))));
    const scoreOf = new Map([...known, ...missing.map((token, i): [number, number] => [token, found[i]])]);
    return tokens.map((token) => scoreOf.get(token) as number);
  };
}

/** The tokens at the first place of an answer, by id. */
function likelyTokens(body: Record<string, unknown>, url: string): Map<number, number> {
  const { logprobs } = firstChoice(body, url) as { logprobs?: { top_logprobs?: unknown; content?: unknown } | null };
  const tops = logprobs?.top_logprobs;
  const known = new Map<number, number>();
  // llama.cpp's form, that of chats with an id for each token.
  const [place] = Array.isArray(logprobs?.content) ? logprobs.content : [];
  const listed: unknown[] = Array.isArray(place?.top_logprobs) ? [...place.top_logprobs, place] : [];
  for (const { id, logprob } of listed as { id?: unknown; logprob?: unknown }[]) {
    if (Number.isSafeInteger(id) && Number.isFinite(logprob)) known.set(id as number, logprob as number);
  }
  if (!Array.isArray(tops)) return known;
  for (const [name, score] of Object.entries(tops[0] ?? {})) {
    const id = /^token_id:(\d+)$/.exec(name);
    if (id && typeof score === "number" && Number.isFinite(score)) known.set(Number(id[1]), score);
  }
  return known;
}

/**
 * Label probabilities by walking the tree of answers from its most probable nodes on, one question of the server for each node: its prompt is
 * the question's and the path, so the server has computed it but for a token. At most UNREAD_MASS of the probability is below nodes that
 * are not read.
 */
export async function treeProbabilities(
  { promptIds, trie }: NonNullable<EndpointQuestion["tokens"]>,
  scoresOf: TokenScores,
): Promise<Float64Array> {
  const { counted, labelsBelow } = factsOf(trie);
  /** log P of the nodes that are reached. */
  const reached = new Map<number, number>([[0, 0]]);
  let frontier = trie.edges.length > 0 ? [0] : [];
  const massOf = (node: number) => Math.exp(reached.get(node) as number);
  while (frontier.length > 0) {
    const wanted = nodesToRead(
      frontier,
      [...reached.keys()].filter((node) => trie.nodes[node].children.length === 0),
      massOf,
    );
    if (wanted.length === 0) break;
    const read = await Promise.all(
      wanted.map(async (start) => {
        const node = firstFork(trie, counted, start);
        const children = counted[node];
        const ids = [...promptIds, ...pathTo(trie, node)];
        return {
          node,
          start,
          children,
          scores: await scoresOf(
            ids,
            children.map((child) => trie.nodes[child].token),
          ),
        };
      }),
    );
    const done = new Set(wanted);
    frontier = frontier.filter((node) => !done.has(node));
    for (const { node, start, children, scores } of read) {
      const own = reached.get(start) as number;
      if (node !== start) reached.set(node, own);
      for (const [i, child] of children.entries()) {
        reached.set(child, own + scores[i]);
        if (trie.nodes[child].children.length > 0) frontier.push(child);
      }
    }
  }
  const masses = Float64Array.from(trie.leaves, (leaf) => {
    let at = leaf;
    while (!reached.has(at)) at = trie.nodes[at].parent;
    return at === leaf ? massOf(at) : massOf(at) / labelsBelow[at];
  });
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}

/** Below a node without counted edges there is one child only, until the first fork. */
function firstFork(trie: LabelTrie, counted: TrieFacts["counted"], start: number): number {
  let node = start;
  while (counted[node].length === 0) [node] = trie.nodes[node].children;
  return node;
}

function pathTo(trie: LabelTrie, node: number): number[] {
  const path: number[] = [];
  for (let at = node; at > 0; at = trie.nodes[at].parent) path.push(trie.nodes[at].token);
  return path.reverse();
}

/** The most probable nodes, until what is left below the others can be left. Empty when the tree is known well enough. */
function nodesToRead(
  frontier: readonly number[],
  leaves: readonly number[],
  massOf: (node: number) => number,
): number[] {
  const order = [...frontier].sort((a, b) => massOf(b) - massOf(a) || a - b);
  const known = leaves.reduce((sum, leaf) => sum + massOf(leaf), 0);
  const best = leaves.reduce((most, leaf) => Math.max(most, massOf(leaf)), 0);
  let rest = order.reduce((sum, node) => sum + massOf(node), 0);
  let chosen = 0;
  const wanted: number[] = [];
  for (const node of order) {
    const mass = massOf(node);
    if (mass <= best && rest <= UNREAD_MASS * Math.max(known, chosen)) break;
    wanted.push(node);
    chosen += mass;
    rest -= mass;
  }
  return wanted;
}
