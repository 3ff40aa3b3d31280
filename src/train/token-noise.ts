import { createRandom } from "../base/random.ts";
import type { EncodedExample } from "./batches.ts";

/** Replaces some prompt tokens by random ones, so that a small model cannot learn sentences by heart. */
export interface TokenNoise {
  /** Replaces each replaceable prompt token of an example with the noise's probability. Equal seeds give equal ids. */
  apply(example: EncodedExample, seed: number): EncodedExample;
}

/**
 * Prepares replacement with a probability. New tokens are drawn by their frequency in the prompts. Tokens that occur in every prompt (marks,
 * template) are never replaced and never drawn. An example whose answer copies from its prompt keeps it, and says nothing of marks. Null when the probability is 0 or no token can be replaced.
 */
export function createTokenNoise(all: readonly EncodedExample[], probability: number): TokenNoise | null {
  if (probability === 0) return null;
  const examples = all.filter(({ copiesPrompt }) => !copiesPrompt);
  const promptsWith = new Map<number, number>();
  for (const { promptIds } of examples) {
    for (const id of new Set(Array.from(promptIds))) promptsWith.set(id, (promptsWith.get(id) ?? 0) + 1);
  }
  const isFixed = (id: number) => promptsWith.get(id) === examples.length;
  const drawn: number[] = [];
  for (const { promptIds } of examples) {
    for (let i = 0; i < promptIds.length; i++) if (!isFixed(promptIds[i])) drawn.push(promptIds[i]);
  }
  if (drawn.length === 0) return null;
  return {
    apply(example, seed) {
      if (example.copiesPrompt) return example;
      const random = createRandom(seed);
      const promptIds = Int32Array.from(example.promptIds);
      for (let i = 0; i < promptIds.length; i++) {
        if (random.uniform() < probability && !isFixed(promptIds[i])) promptIds[i] = drawn[random.below(drawn.length)];
      }
      return { ...example, promptIds };
    },
  };
}
