import { afterAll, describe, expect, it } from "vitest";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom, type Random } from "../base/random.ts";
import { nativeStatus, openNative } from "../compute/native/open.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Decoder } from "../models/decoder.ts";
import { labelProbabilities, leafProbabilities } from "./choose-label.ts";
import { continueRows, type GrowingRow, type GrownRow, type GrowthOptions } from "./continue-rows.ts";
import { chainDraft, type Draft, forcedDraft, NO_DRAFT, trieDraft } from "./draft.ts";
import { buildLabelTrie, noTokens } from "./label-trie.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());
const EOS = 2;
/** Largest difference of a log probability between two ways to batch the same row. */
const TOLERANCE = { float64: 1e-12, float32: 1e-5, bfloat16: 0.05 };

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

  it("give the probabilities of a tree of labels with the answer, and read no prompt twice", async () => {
    const random = createRandom(4);
    const model = await tinyDecoder(backend, { seed: 4 });
    const answers = ["5 6 7 8 9", "5 6 7 10 9", "5 6 11 12 9", "5 13 9"].map((text) => [
      ...text.split(" ").map(Number),
      EOS,
    ]);
    const trie = buildLabelTrie(answers.map((ids, i) => ({ label: `${i}`, ids })));
    const prompts = randomPrompts(random, 20, 40);
    const want = await labelProbabilities(
      model,
      prompts.map((promptIds) => ({ promptIds, trie })),
    );
    const given = prompts.map((promptIds): GrowingRow => ({ promptIds, maxNewTokens: 6 }));
    const plain = await grow(model, given);
    const propose = (ids: readonly number[]) =>
      ids.length === 0 ? trieDraft(trie) : forcedDraft(trie, (label) => answers[label], ids);
    const got = await grow(
      model,
      given.map((row) => ({ ...row, propose })),
    );
    for (const [i, { asked, ...rest }] of got.entries()) {
      expect(rest).toEqual(plain[i]);
      const probabilities = leafProbabilities(trie, asked ?? []);
      for (const [j, value] of probabilities.entries()) expect(value).toBeCloseTo(want[i][j], 10);
    }
  });

  it("compute the tokens of a whole answer in two passes where the model says what was proposed", async () => {
    const model = await tinyDecoder(backend, { seed: 6 });
    const prompts = randomPrompts(createRandom(6), 12, 40);
    const given = prompts.map((promptIds): GrowingRow => ({ promptIds, maxNewTokens: 7 }));
    const plain = noTokens();
    const answers = await grow(model, given, { eosId: null, count: plain, maxPassTokens: 2000 });
    expect(plain.passes).toBe(7);
    const count = noTokens();
    const drafted = given.map((row, i): GrowingRow => {
      return { ...row, propose: (ids) => chainDraft(answers[i].ids.slice(ids.length, ids.length === 0 ? 3 : 6)) };
    });
    expect(await grow(model, drafted, { eosId: null, count, maxPassTokens: 2000 })).toEqual(answers);
    expect(count).toEqual({ ...plain, passes: 2, accepted: 12 * 5, computed: plain.computed });
  });

  it("wait again when the cache is full, with the tokens that they have", async () => {
    const model = await tinyDecoder(backend, { seed: 7 });
    const random = createRandom(7);
    const prompts = Array.from({ length: 10 }, () => [1, ...randomIds(random, 9)]);
    const given = prompts.map((promptIds): GrowingRow => ({ promptIds, maxNewTokens: 40 }));
    const [roomy, tight] = [noTokens(), noTokens()];
    const heard: number[][] = prompts.map(() => []);
    const want = await grow(model, given, { eosId: null, count: roomy, maxPassTokens: 2000 });
    const onToken = (index: number, token: number) => heard[index].push(token);
    const got = await grow(model, given, { eosId: null, count: tight, maxPassTokens: 40, onToken });
    expect(got).toEqual(want);
    expect(heard).toEqual(want.map(({ ids }) => ids));
    // Rows that gave their place up were computed again.
    expect(roomy.computed).toBe(10 * (10 + 39));
    expect(tight.computed).toBeGreaterThan(roomy.computed);
    for (const [i, one] of got.entries()) await expectGreedy(model, given[i], one);
  });

  it("free their cache, after an error too", async () => {
    const model = await tinyDecoder(backend, { seed: 8 });
    const before = backend.memory().tensors;
    await grow(model, [{ promptIds: [1, 5], maxNewTokens: 3 }]);
    await expect(grow(model, [{ promptIds: [1, 99], maxNewTokens: 3 }])).rejects.toThrow();
    expect(backend.memory().tensors).toBe(before);
    expect(await grow(model, [])).toEqual([]);
  });
});

describe("the native backend", () => {
  it.skipIf(nativeStatus().levels.length === 0)("gives a row the same answer whatever its neighbours", async () => {
    const native = openNative({ threads: 2 });
    try {
      const model = await tinyDecoder(native, { seed: 9, spec: { width: 32, heads: 2, headWidth: 16 } });
      const random = createRandom(9);
      const prompts = randomPrompts(random, 60, 40);
      const trie = buildLabelTrie([5, 6, 7].map((token) => ({ label: `${token}`, ids: [4, token, EOS] })));
      const given = prompts.map(
        (promptIds): GrowingRow => ({
          ...{ promptIds, maxNewTokens: 6 },
          propose: (ids) => (ids.length === 0 ? trieDraft(trie) : NO_DRAFT),
        }),
      );
      const together = await grow(model, given, { maxPassTokens: 2000 });
      for (const [i, row] of given.entries()) {
        const [alone] = await grow(model, [row]);
        expect(alone.ids).toEqual(together[i].ids);
        // Sums over the keys are in another order where other rows share the beginning of the prompt.
        for (const [j, value] of (alone.asked ?? []).entries()) {
          expect(Math.abs(value - (together[i].asked?.[j] ?? Number.NaN))).toBeLessThan(TOLERANCE[native.precision]);
        }
      }
    } finally {
      await native.close();
    }
  });
});
