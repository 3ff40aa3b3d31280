import { afterAll, describe, expect, it } from "vitest";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom, type Random } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Decoder } from "../models/decoder.ts";
import { labelProbabilities, leafProbabilities } from "./choose-label.ts";
import { continueRows, type GrowingRow, type GrownRow, type GrowthOptions } from "./continue-rows.ts";
import { chainDraft, type Draft, forcedDraft, NO_DRAFT, trieDraft } from "./draft.ts";
import { buildLabelTrie, noTokens, type TokenCount } from "./label-trie.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());
const EOS = 2;

const grow = (model: Decoder, rows: readonly GrowingRow[], options: Partial<GrowthOptions> = {}) =>
  continueRows(model, rows, { eosId: EOS, pick: null, maxPassTokens: 60, count: noTokens(), ...options });

/** The answer is greedy where each of its tokens is the most likely one behind all before it, by a decoder of its own. */
async function expectGreedy(model: Decoder, { promptIds, maxNewTokens }: GrowingRow, { ids, ended }: GrownRow) {
  const prompt = Array.from(promptIds);
  const both = model.spec.promptAttention === "both" ? prompt.length : 0;
  const logits = await naiveLogits(model, [...prompt, ...ids], false, both);
  const best = logits.slice(prompt.length - 1).map((row) => row.indexOf(Math.max(...row)));
  expect(ids).toEqual(best.slice(0, ids.length));
  expect(ids.length).toBeLessThanOrEqual(maxNewTokens);
  if (ended) expect(best[ids.length]).toBe(EOS);
  else expect(ids.length).toBe(maxNewTokens);
}

/** Trees of any form; some chains are those that the model will choose, as far as `answer` knows them. */
function randomDraft(random: Random, answer: readonly number[] | undefined, ids: readonly number[]): Draft {
  const kind = random.below(4);
  if (kind === 0) return NO_DRAFT;
  if (kind === 1 && answer) return chainDraft(answer.slice(ids.length, ids.length + random.below(6)));
  const size = 1 + random.below(7);
  const tokens: number[] = [];
  const parents: number[] = [];
  for (let i = 0; i < size; i++) {
    tokens.push(answer && random.below(2) === 0 ? (answer[ids.length + i] ?? 5) : random.below(16));
    parents.push(random.below(3) > 0 ? i - 1 : random.below(i + 1) - 1);
  }
  return { tokens, parents };
}

/** Prompts of which some begin alike, and some are equal. */
function randomPrompts(random: Random, count: number, vocabularySize: number): number[][] {
  const begin = randomIds(random, random.below(9), vocabularySize);
  const beginnings = [begin, begin, [...begin, ...randomIds(random, 5, vocabularySize)]];
  const prompts: number[][] = [];
  for (let i = 0; i < count; i++) {
    const own = randomIds(random, 1 + random.below(6), vocabularySize);
    const isCopy = i > 0 && random.below(8) === 0;
    prompts.push(isCopy ? prompts[random.below(i)] : [1, ...beginnings[random.below(3)], ...own]);
  }
  return prompts;
}

describe("continued rows", () => {
  it.each(["causal", "both"] as const)(
    "are what a decoder of its own chooses token by token, whatever is proposed, for thousands of rows (%s)",
    async (promptAttention) => {
      const vocabularySize = 16;
      let rows = 0;
      const count = noTokens();
      for (let seed = 0; seed < 20; seed++) {
        const random = createRandom(seed);
        const spec = { promptAttention, vocabularySize, layers: 1 + (seed % 2), width: 8, feedForward: 8 };
        const model = await tinyDecoder(backend, { seed, spec });
        const prompts = randomPrompts(random, 50, vocabularySize);
        const known = new Map<string, number[]>();
        const given = prompts.map((promptIds): GrowingRow => ({ promptIds, maxNewTokens: 1 + random.below(8) }));
        const plain = await grow(model, given);
        for (const [i, { ids }] of plain.entries()) known.set(prompts[i].join(), ids);
        const drafted = given.map(
          (row, i): GrowingRow => ({
            ...row,
            propose: (ids) => randomDraft(random, known.get(prompts[i].join()), ids),
          }),
        );
        const maxPassTokens = 1 + random.below(200);
        const got = await grow(model, drafted, { maxPassTokens, count });
        expect(got).toEqual(plain);
        for (const [i, one] of got.entries()) await expectGreedy(model, given[i], one);
        rows += prompts.length;
      }
      expect(rows).toBe(1000);
      expect(count.accepted).toBeGreaterThan(count.generated / 10);
      expect(count.accepted).toBeLessThan(count.generated);
    },
  );
});
