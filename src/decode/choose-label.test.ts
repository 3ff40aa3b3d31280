import { afterAll, describe, expect, it } from "vitest";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { randomIds, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom, type Random } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import { openReference } from "../compute/reference/backend.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { batchQuestions, labelProbabilities } from "./choose-label.ts";
import { buildLabelTrie, type LabelQuestion } from "./label-trie.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

/** The logits of every token of a prompt with its answer. */
async function logitRows(model: Decoder, ids: number[], promptLength: number): Promise<number[][]> {
  if (model.spec.promptAttention === "both") return naiveLogits(model, ids, false, promptLength);
  const tape = createTape(backend, { record: false });
  const logits = forward(model, tape, {
    ids: Int32Array.from(ids),
    segments: [{ start: 0, length: ids.length, keyStart: 0, position: 0, context: [] }],
  });
  const values = await backend.read(logits.tensor);
  tape.dispose();
  const width = model.spec.vocabularySize;
  return ids.map((_, row) => Array.from(values.subarray(row * width, (row + 1) * width)));
}

/** log P of every token of a sequence given the ones before it, by a plain forward pass; index i is the token after ids[i]. */
async function plainLogProbabilities(model: Decoder, ids: number[], promptLength: number) {
  const rows = await logitRows(model, ids, promptLength);
  return (row: number, token: number): number => {
    const scores = rows[row];
    const best = Math.max(...scores);
    return scores[token] - best - Math.log(scores.reduce((sum, score) => sum + Math.exp(score - best), 0));
  };
}

/** The definition: each answer on its own, Σ of log-probabilities from the first token where any two answers differ to where it is alone. */
async function bruteForce(model: Decoder, promptIds: number[], answers: number[][]): Promise<number[]> {
  const sharedLength = (a: number[], b: number[]) => {
    let length = 0;
    while (length < a.length && a[length] === b[length]) length++;
    return length;
  };
  const others = (answer: number[]) => answers.filter((one) => one !== answer);
  const common = Math.min(...answers.flatMap((a) => others(a).map((b) => sharedLength(a, b))));
  const scores: number[] = [];
  for (const answer of answers) {
    const alone = Math.max(...others(answer).map((b) => sharedLength(answer, b))) + 1;
    const logProbability = await plainLogProbabilities(model, [...promptIds, ...answer], promptIds.length);
    let score = 0;
    for (let i = common; i < alone; i++) score += logProbability(promptIds.length + i - 1, answer[i]);
    scores.push(score);
  }
  const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
  return scores.map((score) => Math.exp(score) / total);
}

/** Answers with forks at several depths: beginnings of earlier ones, grown by a few tokens and ended. */
function randomAnswers(random: Random, count: number): number[][] {
  const answers = new Map<string, number[]>();
  const common = randomIds(random, random.below(3));
  while (answers.size < count) {
    const earlier = [...answers.values()];
    const from = earlier.length > 0 ? earlier[random.below(earlier.length)] : [...common, 0];
    const kept = from.slice(0, common.length + random.below(from.length - common.length));
    const answer = [...kept, ...randomIds(random, random.below(4)), 2];
    answers.set(answer.join(), answer);
  }
  return [...answers.values()];
}

describe("labelProbabilities", () => {
  it("equals scoring every answer on its own, for random trees and batches of different questions", async () => {
    for (let round = 0; round < 12; round++) {
      const random = createRandom(round);
      // ALiBi reads the positions of every span of keys.
      const positions = round % 3 === 2 ? ({ kind: "alibi" } as const) : TINY_SPEC.positions;
      // Of three rounds with rotary positions and three with ALiBi, the prompts' tokens see each other.
      const promptAttention = round >= 6 ? "both" : "causal";
      const spec = { tiedHead: round % 2 === 0, positions, promptAttention } as const;
      const model = await tinyDecoder(backend, { seed: 100 + round, spec });
      const asked = Array.from({ length: 1 + random.below(3) }, () => ({
        promptIds: [1, ...randomIds(random, random.below(9))],
        answers: randomAnswers(random, 2 + random.below(7)),
      }));
      const questions = asked.map(({ promptIds, answers }) => ({
        promptIds,
        trie: buildLabelTrie(answers.map((ids, i) => ({ label: `${i}`, ids }))),
      }));
      const got = await labelProbabilities(model, questions);
      for (const [i, { promptIds, answers }] of asked.entries()) {
        const want = await bruteForce(model, promptIds, answers);
        expect(got[i].length).toBe(answers.length);
        // The decoder's angles are float32, those of the naive one are not.
        const digits = promptAttention === "both" ? 7 : 9;
        for (const [j, value] of want.entries()) {
          expect(got[i][j], `round ${round}, label ${j}`).toBeCloseTo(value, digits);
        }
      }
    }
  });

  it("gives a question equal numbers in any batch", async () => {
    const random = createRandom(5);
    const model = await tinyDecoder(backend, { seed: 5 });
    const questions: LabelQuestion[] = Array.from({ length: 4 }, (_, i) => ({
      promptIds: [1, ...randomIds(random, 3 + 2 * i)],
      trie: buildLabelTrie(randomAnswers(random, 5).map((ids, j) => ({ label: `${j}`, ids }))),
    }));
    const together = await labelProbabilities(model, questions);
    const backwards = await labelProbabilities(model, [...questions].reverse());
    for (const [i, question] of questions.entries()) {
      const [alone] = await labelProbabilities(model, [question]);
      for (const [j, value] of alone.entries()) {
        expect(together[i][j]).toBeCloseTo(value, 12);
        expect(backwards[questions.length - 1 - i][j]).toBeCloseTo(value, 12);
      }
    }
  });

  it.each(["causal", "both"] as const)(
    "gives prompts with shared beginnings the numbers they have alone (%s)",
    async (promptAttention) => {
      const random = createRandom(8);
      const model = await tinyDecoder(backend, { seed: 8, spec: { ...TINY_SPEC, promptAttention } });
      const template = [1, ...randomIds(random, 20)];
      const sentence = [...template, ...randomIds(random, 18)];
      const prompts = [
        [...template, ...randomIds(random, 3)],
        [...sentence, 5, 6],
        [...sentence, 5, 7, 8],
        [...sentence, 5, 6],
        sentence,
        randomIds(random, 30),
      ];
      const questions: LabelQuestion[] = prompts.map((promptIds) => ({
        promptIds,
        trie: buildLabelTrie(randomAnswers(random, 4).map((ids, j) => ({ label: `${j}`, ids }))),
      }));
      const together = await labelProbabilities(model, questions);
      for (const [i, question] of questions.entries()) {
        const [alone] = await labelProbabilities(model, [question]);
        for (const [j, value] of alone.entries()) expect(together[i][j], `question ${i}`).toBeCloseTo(value, 12);
      }
    },
  );

  it("is sure of a single label, alone and in a batch", async () => {
    const model = await tinyDecoder(backend, { seed: 6 });
    const single = { promptIds: [1, 5], trie: buildLabelTrie([{ label: "only", ids: [7, 2] }]) };
    const pair = { promptIds: [1, 6], trie: buildLabelTrie([[7], [8]].map((ids, i) => ({ label: `${i}`, ids }))) };
    expect(await labelProbabilities(model, [single])).toEqual([Float64Array.of(1)]);
    const [first, second] = await labelProbabilities(model, [single, pair]);
    expect(first).toEqual(Float64Array.of(1));
    expect(second[0] + second[1]).toBeCloseTo(1, 12);
  });

  it("frees what it made, also after an error", async () => {
    const model = await tinyDecoder(backend, { seed: 7 });
    const before = backend.memory().tensors;
    const trie = buildLabelTrie([[7], [8]].map((ids, i) => ({ label: `${i}`, ids })));
    await labelProbabilities(model, [{ promptIds: [1, 5], trie }]);
    await expect(labelProbabilities(model, [{ promptIds: [1, 99], trie }])).rejects.toThrow();
    expect(backend.memory().tensors).toBe(before);
  });
});

describe("the batches of questions", () => {
  const trie = buildLabelTrie(
    [
      [7, 2],
      [8, 2],
    ].map((ids, i) => ({ label: `${i}`, ids })),
  );
  const ask = (promptIds: number[]): LabelQuestion => ({ promptIds, trie });
  const counting = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
  const nodes = trie.inner.length;

  it("have every question once, within the limit of what is computed", () => {
    const sentence = counting(100, 40);
    const questions = [ask([...sentence, 1]), ask(counting(10, 30)), ask([...sentence, 2]), ask([...sentence, 3])];
    // The sentence once, and one token of each.
    const limit = 40 + 3 * (1 + nodes);
    const batches = batchQuestions(questions, limit, "causal");
    expect(batches).toEqual([[1], [0, 2, 3]]);
    expect(batchQuestions(questions, limit - 1, "causal")).toEqual([[1], [0, 2], [3]]);
    // Prompts that are read in both directions share only where they are equal.
    expect(batchQuestions(questions, limit, "both").flat().sort()).toEqual([0, 1, 2, 3]);
    expect(batchQuestions(questions, limit, "both").length).toBe(4);
    expect(batchQuestions([questions[0], questions[0]], 41 + 2 * nodes, "both")).toEqual([[0, 1]]);
  });

  it("take a question over the limit alone", () => {
    expect(batchQuestions([ask(counting(0, 50)), ask(counting(60, 5))], 20, "causal")).toEqual([[0], [1]]);
    expect(batchQuestions([], 20, "causal")).toEqual([]);
  });
});
