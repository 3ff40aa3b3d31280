import { describe, expect, it } from "vitest";
import { tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import { drawToken, tokenScores } from "./draw.ts";
import { generate } from "./generate.ts";
import { createLiveSequences, type LiveSequence } from "./live-sequences.ts";
import { scoreTokens } from "./score-tokens.ts";

const PROMPTS = [
  [1, 5, 9, 3],
  [1, 7],
  [1, 4, 4, 8, 2, 6, 3],
];
const greedy = { temperature: 0, topP: 1, random: createRandom(1) };

/** A sequence that keeps the tokens that it draws. */
function greedySequence(promptIds: number[], maxNewTokens: number): LiveSequence & { ids: number[] } {
  const ids: number[] = [];
  return {
    ...{ promptIds, maxNewTokens, ids },
    next(logits) {
      const token = drawToken(logits, greedy, null);
      ids.push(token);
      return token;
    },
  };
}

describe("live sequences", () => {
  it.each(["causal", "both"] as const)(
    "give what each gives alone, whenever it joins (%s)",
    async (promptAttention) => {
      const backend = openReference();
      const model = await tinyDecoder(backend, { seed: 3, spec: { promptAttention } });
      const alone = await generate(model, PROMPTS, { maxNewTokens: 6, eosId: null });
      const live = createLiveSequences(model, 40);
      const sequences = PROMPTS.map((prompt) => greedySequence(prompt, 6));
      const ended: LiveSequence[] = [];
      for (let step = 0; ended.length < 3; step++) {
        if (step % 2 === 0 && step / 2 < 3) expect(live.add(sequences[step / 2])).toBe(true);
        ended.push(...(await live.step()));
      }
      expect(sequences.map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
      expect(live.size).toBe(0);
      live.free();
      await backend.close();
    },
  );

  it("reads a long prompt in parts", async () => {
    const backend = openReference();
    const model = await tinyDecoder(backend, { seed: 3, spec: { maxTokens: 2048 } });
    const random = createRandom(2);
    const long = Array.from({ length: 700 }, () => 1 + random.below(20));
    const [alone] = await generate(model, [long], { maxNewTokens: 2, eosId: null });
    const live = createLiveSequences(model, 800);
    const [first, second] = [greedySequence(long, 2), greedySequence([1, 7], 4)];
    live.add(first);
    live.add(second);
    await live.step();
    expect([first.ids.length, second.ids.length]).toEqual([0, 0]);
    await live.step();
    expect([first.ids.length, second.ids.length]).toEqual([1, 1]);
    while (live.size > 0) await live.step();
    expect(first.ids).toEqual(alone.ids);
    await backend.close();
  });

  it("gives rows to those that fit and takes them back", async () => {
    const backend = openReference();
    const live = createLiveSequences(await tinyDecoder(backend, { seed: 3 }), 20);
    const [a, b, c] = [greedySequence([1, 2, 3, 4], 6), greedySequence([1, 2], 6), greedySequence([1], 8)];
    expect([live.add(a), live.add(b), live.add(c)]).toEqual([true, true, false]);
    await live.step();
    live.remove(a);
    expect([live.hasRoom(10), live.hasRoom(11), live.add(c)]).toEqual([true, false, true]);
    while (live.size > 0) await live.step();
    expect([a.ids.length, b.ids.length, c.ids.length]).toEqual([1, 6, 8]);
    await backend.close();
  });
});

describe("scores of tokens", () => {
  it("are the logarithms of the model's probabilities, with and without the most likely ones", async () => {
    const backend = openReference();
    const model = await tinyDecoder(backend, { seed: 3 });
    const text = [1, 5, 9, 3, 7, 2];
    const all = await scoreTokens(model, text, { from: 0, top: 2, promptTokens: 0 });
    expect(all.map(({ id }) => id)).toEqual(text);
    expect(all[0]).toEqual({ id: 1, logProbability: null, top: [] });
    const few = await scoreTokens(model, text, { from: 3, top: 0, promptTokens: 3 });
    expect(few.map(({ id }) => id)).toEqual([3, 7, 2]);
    for (const [i, { logProbability }] of few.entries()) {
      expect(logProbability).toBeCloseTo(all[3 + i].logProbability as number, 5);
    }
    const live = createLiveSequences(model, 20);
    const drawn: number[] = [];
    live.add({
      promptIds: text.slice(0, 3),
      maxNewTokens: 3,
      next(logits) {
        const token = text[3 + drawn.length];
        drawn.push(tokenScores(logits, token, 0).own);
        return token;
      },
    });
    while (live.size > 0) await live.step();
    for (const [i, own] of drawn.entries()) expect(own).toBeCloseTo(all[3 + i].logProbability as number, 5);
    await backend.close();
  });

  it("by hand", () => {
    const logits = [Math.log(0.1), Math.log(0.6), Math.log(0.3)];
    const { own, top } = tokenScores(logits, 0, 2);
    expect(own).toBeCloseTo(Math.log(0.1), 12);
    expect(top.map(({ id }) => id)).toEqual([1, 2]);
    expect(top[0].logProbability).toBeCloseTo(Math.log(0.6), 12);
  });
});

describe("drawing", () => {
  const logits = [0.1, 0.6, 0.3, 0].map(Math.log);
  const shares = (options: { temperature: number; topP: number }, allowed: Uint8Array | null = null) => {
    const random = createRandom(5);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) counts[drawToken(logits, { ...options, random }, allowed)]++;
    return counts.map((count) => count / 4000);
  };

  it("has the model's shares, those of the temperature, and of the most likely part", () => {
    for (const [i, share] of shares({ temperature: 1, topP: 1 }).entries())
      expect(Math.abs(share - [0.1, 0.6, 0.3, 0][i])).toBeLessThan(0.03);
    const squares = [0.01, 0.36, 0.09, 0].map((weight) => weight / 0.46);
    for (const [i, share] of shares({ temperature: 0.5, topP: 1 }).entries())
      expect(Math.abs(share - squares[i])).toBeLessThan(0.03);
    expect(shares({ temperature: 1, topP: 0.5 })).toEqual([0, 1, 0, 0]);
    for (const [i, share] of shares({ temperature: 1, topP: 0.7 }).entries())
      expect(Math.abs(share - [0, 2 / 3, 1 / 3, 0][i])).toBeLessThan(0.03);
  });

  it("takes only what is allowed", () => {
    expect(drawToken(logits, greedy, Uint8Array.of(1, 0, 1, 1))).toBe(2);
    expect(drawToken(logits, greedy, Uint8Array.of(0, 0, 0, 0))).toBe(-1);
    for (const [i, share] of shares({ temperature: 1, topP: 1 }, Uint8Array.of(1, 0, 1, 0)).entries())
      expect(Math.abs(share - [0.25, 0, 0.75, 0][i])).toBeLessThan(0.03);
  });
});
