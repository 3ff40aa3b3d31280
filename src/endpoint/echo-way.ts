import { UserError } from "../base/errors.ts";
import type { EndpointClient } from "./client.ts";
import type { EndpointQuestion } from "./question.ts";
import { normalisedScores } from "./ways.ts";

/** Prompts of one request. */
const PROMPTS_PER_REQUEST = 32;

/** The log probabilities of the last tokens of texts, `count` of each. */
export type EchoScores = (texts: readonly (readonly number[])[], counts: readonly number[]) => Promise<number[][]>;

/** Scores by `echo` and `logprobs`: the server reads each text whole and generates nothing. */
export function echoScores(client: EndpointClient, attempts?: number): EchoScores {
  return async (texts, counts) => {
    const body = { prompt: texts, echo: true, max_tokens: 0, logprobs: 0, temperature: 0 };
    const { choices } = (await client.ask("completions", body, { attempts })).body;
    const all = Array.isArray(choices) ? choices : [];
    const ordered = [...all].sort((a, b) => Number(a?.index) - Number(b?.index));
    return texts.map((ids, i) => {
      const scores: unknown = ordered[i]?.logprobs?.token_logprobs;
      // Some servers leave out the begin token.
      const isWhole = Array.isArray(scores) && (scores.length === ids.length || scores.length === ids.length - 1);
      const last = isWhole ? scores.slice(scores.length - counts[i]) : [];
      if (last.length === counts[i] && last.every((score) => typeof score === "number")) return last;
      throw new UserError(`${client.url}: does not tell the probabilities of a prompt's tokens with "echo".`);
    });
  };
}

/** Label probabilities by reading the prompt with each label's answer, as far as that tells the labels apart. */
export async function echoProbabilities(
  { promptIds, trie }: NonNullable<EndpointQuestion["tokens"]>,
  scoresOf: EchoScores,
): Promise<Float64Array> {
  if (trie.edges.length === 0) return Float64Array.from(trie.leaves, () => 1 / trie.leaves.length);
  const paths = trie.leaves.map((leaf) => {
    const path: number[] = [];
    for (let at = leaf; at > 0; at = trie.nodes[at].parent) path.push(trie.nodes[at].token);
    return path.reverse();
  });
  const parts: number[][][] = [];
  for (let i = 0; i < paths.length; i += PROMPTS_PER_REQUEST) parts.push(paths.slice(i, i + PROMPTS_PER_REQUEST));
  const scores = await Promise.all(
    parts.map((part) =>
      scoresOf(
        part.map((path) => [...promptIds, ...path]),
        part.map((path) => path.length),
      ),
    ),
  );
  return normalisedScores(scores.flat().map((path) => path.reduce((sum, score) => sum + score, 0)));
}
