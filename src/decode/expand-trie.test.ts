import { afterAll, describe, expect, it } from "vitest";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom, type Random } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Decoder } from "../models/decoder.ts";
import { labelProbabilities } from "./choose-label.ts";
import { expandTries, MISSING_MASS } from "./expand-trie.ts";
import { buildLabelTrie, type LabelQuestion } from "./label-trie.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

/** Answers of up to five tokens, many of which begin alike. */
function answers(random: Random, count: number): { label: string; ids: number[] }[] {
  const found = new Map<string, number[]>();
  while (found.size < count) {
    const earlier = [...found.values()];
    const from = earlier.length > 0 ? earlier[random.below(earlier.length)].slice(0, -1) : [];
    const ids = [...from.slice(0, random.below(from.length + 1)), ...randomIds(random, 1 + random.below(3)), 2];
    found.set(ids.join(), ids);
  }
  return [...found.values()].map((ids, i) => ({ label: `${i}`, ids }));
}

const questionsOf = (random: Random, count: number, labels: number): LabelQuestion[] => {
  const trie = buildLabelTrie(answers(random, labels));
  const start = randomIds(random, 20);
  return Array.from({ length: count }, () => ({ promptIds: [1, ...start, ...randomIds(random, 4)], trie }));
};

const never = () => Promise.reject(new Error("read whole"));

describe("trees that are read from their most probable nodes on", () => {
  it.each(["causal", "both"] as const)("give what the whole tree gives (%s)", async (promptAttention) => {
    for (const [seed, deviation] of [
      [1, 0.3],
      [2, 1],
      [3, 0.05],
    ]) {
      const random = createRandom(seed);
      const model = await tinyDecoder(backend, { seed, spec: { promptAttention }, deviation });
      const questions = questionsOf(random, 4, 24);
      expect(questions[0].trie.inner.length).toBeLessThan(64);
      const whole = await labelProbabilities(model, questions);
      const expanded = await expandTries(model, questions, never);
      for (const [i, probabilities] of whole.entries()) {
        const best = probabilities.indexOf(Math.max(...probabilities));
        expect(expanded[i].indexOf(Math.max(...expanded[i]))).toBe(best);
        expect(expanded[i].reduce((sum, one) => sum + one, 0)).toBeCloseTo(1, 12);
        for (const [label, value] of probabilities.entries()) {
          expect(Math.abs(expanded[i][label] - value), `seed ${seed}, question ${i}`).toBeLessThan(2 * MISSING_MASS);
        }
      }
    }
  });

  it("read less than the whole tree where the model is sure, and all that is probable", async () => {
    const model = await tinyDecoder(backend, { seed: 4, deviation: 1 });
    const questions = questionsOf(createRandom(4), 3, 30);
    const rows = (work: () => Promise<unknown>) => computedRows(model, work);
    const inner = questions[0].trie.inner.length;
    const expanded = await rows(() => expandTries(model, questions, never));
    const whole = await rows(() => labelProbabilities(model, questions));
    expect(whole - expanded).toBeGreaterThan(inner);
  });

  it("give a question of a large tree the numbers that it has alone", async () => {
    const model = await tinyDecoder(backend, { seed: 5, deviation: 0.5 });
    const questions = questionsOf(createRandom(5), 2, 160);
    expect(questions[0].trie.inner.length).toBeGreaterThanOrEqual(64);
    const [first] = await labelProbabilities(model, questions);
    const [alone] = await labelProbabilities(model, [questions[0]]);
    for (const [label, value] of alone.entries()) expect(first[label]).toBeCloseTo(value, 9);
  });

  it("give a question to the whole reading where the cache has no room", async () => {
    // A model without any opinion: every branch is as probable as the others.
    const model = await tinyDecoder(backend, { seed: 6, deviation: 1e-4 });
    const questions = questionsOf(createRandom(6), 2, 400);
    expect(questions[0].trie.inner.length).toBeGreaterThan(96);
    const asked: number[] = [];
    const found = await expandTries(model, questions, async (some) => {
      asked.push(some.length);
      return some.map(({ trie }) => new Float64Array(trie.leaves.length).fill(1 / trie.leaves.length));
    });
    expect(asked).toEqual([2]);
    expect(found[1]).toHaveLength(400);
  });

  it("free what they made", async () => {
    const model = await tinyDecoder(backend, { seed: 7 });
    const before = backend.memory().tensors;
    await expandTries(model, questionsOf(createRandom(7), 2, 24), never);
    expect(backend.memory().tensors).toBe(before);
  });
});

/** Rows of queries of all attention in a piece of work, divided by the layers. */
async function computedRows(model: Decoder, work: () => Promise<unknown>): Promise<number> {
  const { attention } = backend;
  let rows = 0;
  backend.attention = (...given: Parameters<typeof attention>) => {
    for (const { length } of given[3]) rows += length;
    return attention.apply(backend, given);
  };
  try {
    await work();
  } finally {
    backend.attention = attention;
  }
  return rows / model.layers.length;
}
