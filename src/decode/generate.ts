import type { Random } from "../base/random.ts";
import type { Decoder } from "../models/decoder.ts";
import { continueRows, type GrowingRow, type GrownRow } from "./continue-rows.ts";
import type { Draft } from "./draft.ts";
import { noTokens, type TokenCount } from "./label-trie.ts";

export type { GrownRow } from "./continue-rows.ts";

/** How the next token is drawn; without sampling it is the most likely one (greedy). */
export interface Sampling {
  temperature: number;
  /** Keep the most likely tokens up to this much probability. */
  topP: number;
  /** Most tokens to keep; 0 keeps all. */
  topK: number;
  random: Random;
}

export interface GenerateOptions {
  maxNewTokens: number;
  /** Ends a sequence; not part of the result. */
  eosId: number | null;
  sampling?: Sampling | null;
  /** What may come behind the new tokens that sequence `index` has: accepted as far as the model would choose it. */
  propose?: (index: number, ids: readonly number[]) => Draft;
  /** Most tokens of one pass; a longer prompt has a pass of its own. */
  maxPassTokens?: number;
  /** Called with each new token of sequence `index`. */
  onToken?: (index: number, token: number) => void;
  count?: TokenCount;
}

/** More tokens in one pass are not faster on any machine that was measured, and need more memory. */
const PASS_TOKENS = 2048;

/**
 * Continues all prompts, those that fit together in each pass ({@link continueRows}): a sequence that has ended makes room for the next prompt.
 * Memory: the keys and values of a few passes, however many prompts there are.
 */
export async function generate(
  model: Decoder,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): Promise<GrownRow[]> {
  const { maxNewTokens, eosId, sampling = null, propose, onToken } = options;
  const rows = prompts.map((promptIds, index): GrowingRow => {
    return { promptIds, maxNewTokens, ...(propose && { propose: (ids) => propose(index, ids) }) };
  });
  return continueRows(model, rows, {
    ...{ eosId, onToken },
    pick: sampling && ((logits) => pickToken(logits, sampling)),
    maxPassTokens: Math.min(PASS_TOKENS, options.maxPassTokens ?? PASS_TOKENS),
    count: options.count ?? noTokens(),
  });
}

/** Draws a token: temperature first, then the top-k and top-p cuts (Holtzman et al. 2020). */
export function pickToken(logits: ArrayLike<number>, sampling: Sampling): number {
  const { temperature, topP, topK, random } = sampling;
  const order = Array.from({ length: logits.length }, (_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = topK > 0 ? order.slice(0, topK) : order;
  const best = logits[kept[0]];
  const weights = kept.map((id) => Math.exp((logits[id] - best) / Math.max(temperature, 1e-6)));
  const total = weights.reduce((a, b) => a + b, 0);
  let mass = 0;
  let size = 0;
  while (size < kept.length && mass < topP * total) mass += weights[size++];
  size = Math.max(1, size);
  const target = random.uniform() * weights.slice(0, size).reduce((a, b) => a + b, 0);
  let sum = 0;
  for (let i = 0; i < size; i++) {
    sum += weights[i];
    if (target < sum) return kept[i];
  }
  return kept[size - 1];
}
