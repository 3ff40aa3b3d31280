import { afterAll, describe, expect, it } from "vitest";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { randomIds, sequenceLogits, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import { openReference } from "../compute/reference/backend.ts";
import { type Decoder, forward } from "../models/decoder.ts";
import { generate, pickToken } from "./generate.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

/** The likeliest token after a sequence, computed from nothing. */
async function argmaxAfter(model: Decoder, ids: readonly number[], promptLength: number): Promise<number> {
  if (model.spec.promptAttention === "both") {
    const last = (await naiveLogits(model, ids, false, promptLength))[ids.length - 1];
    return last.indexOf(Math.max(...last));
  }
  const tape = createTape(backend, { record: false });
  const logits = forward(model, tape, {
    ids: Int32Array.from(ids),
    segments: [{ start: 0, length: ids.length, keyStart: 0, position: 0, context: [] }],
    outputRows: Int32Array.of(ids.length - 1),
  });
  const values = await backend.read(logits.tensor);
  tape.dispose();
  return values.indexOf(Math.max(...values));
}

async function plainGreedy(model: Decoder, prompt: readonly number[], maxNewTokens: number, eosId: number | null) {
  const ids: number[] = [];
  while (ids.length < maxNewTokens) {
    const token = await argmaxAfter(model, [...prompt, ...ids], prompt.length);
    if (token === eosId) return { ids, ended: true };
    ids.push(token);
  }
  return { ids, ended: false };
}

describe("generate", () => {
  it.each([
    ["causal", "rotary"],
    ["both", "rotary"],
    ["both", "alibi"],
  ] as const)(
    "is the argmax of a full computation at every step, batched prompts of any length: %s, %s",
    async (promptAttention, kind) => {
      const positions = kind === "alibi" ? ({ kind } as const) : TINY_SPEC.positions;
      for (let seed = 0; seed < 4; seed++) {
        const random = createRandom(seed);
        const model = await tinyDecoder(backend, { seed, spec: { promptAttention, positions } });
        const prompts = [1, 7, 3].map((length) => [1, ...randomIds(random, length)]);
        const got = await generate(model, prompts, { maxNewTokens: 8, eosId: null });
        for (const [i, prompt] of prompts.entries()) expect(got[i]).toEqual(await plainGreedy(model, prompt, 8, null));
      }
    },
  );

  it("never gives an id that has no token, greedy or sampled", async () => {
    const spec = { vocabularySize: 40, tokenCount: 6 };
    for (let seed = 0; seed < 3; seed++) {
      const model = await tinyDecoder(backend, { seed, spec });
      const prompt = [1, 4, 5];
      const [{ ids }] = await generate(model, [prompt], { maxNewTokens: 6, eosId: null });
      for (const [i, id] of ids.entries()) {
        const logits = await sequenceLogits(model, [...prompt, ...ids.slice(0, i)]);
        const last = Array.from(logits).slice(-40, -40 + 6);
        expect(id).toBe(last.indexOf(Math.max(...last)));
      }
      const sampling = { temperature: 5, topP: 1, topK: 0, random: createRandom(seed) };
      const [sampled] = await generate(model, [prompt], { maxNewTokens: 40, eosId: null, sampling });
      expect(new Set(sampled.ids)).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    }
  });

  it("lets sequences end at different times", async () => {
    const model = await tinyDecoder(backend, { seed: 3 });
    const prompts = [
      [1, 4],
      [1, 9, 9],
      [1, 20, 7, 8],
      [1, 30],
    ];
    const free = await generate(model, prompts, { maxNewTokens: 10, eosId: null });
    // A token that one sequence gives in its middle, used as the end token.
    const eosId = free[1].ids[4];
    const got = await generate(model, prompts, { maxNewTokens: 10, eosId });
    for (const [i, prompt] of prompts.entries()) expect(got[i]).toEqual(await plainGreedy(model, prompt, 10, eosId));
    expect(got[1].ended).toBe(true);
    expect(got[1].ids.length).toBeLessThanOrEqual(4);
  });

  it("says that nothing has ended when nothing may be added, and takes no prompts", async () => {
    const model = await tinyDecoder(backend, { seed: 3 });
    expect(await generate(model, [[1, 4]], { maxNewTokens: 0, eosId: 2 })).toEqual([{ ids: [], ended: false }]);
    expect(await generate(model, [], { maxNewTokens: 5, eosId: 2 })).toEqual([]);
  });

  it("tells each token as it comes, and frees its cache", async () => {
    const model = await tinyDecoder(backend, { seed: 8 });
    const before = backend.memory().tensors;
    const heard: number[][] = [[], []];
    const got = await generate(
      model,
      [
        [1, 5],
        [1, 6, 7],
      ],
      {
        maxNewTokens: 6,
        eosId: 2,
        onToken: (index, token) => heard[index].push(token),
      },
    );
    expect(got.map(({ ids }) => ids)).toEqual(heard);
    await expect(generate(model, [[1, 99]], { maxNewTokens: 2, eosId: 2 })).rejects.toThrow();
    expect(backend.memory().tensors).toBe(before);
  });

  it("samples the same text from the same seed, another from another", async () => {
    const model = await tinyDecoder(backend, { seed: 9, deviation: 0.2 });
    const draw = async (seed: number) => {
      const sampling = { temperature: 1, topP: 1, topK: 0, random: createRandom(seed) };
      return (await generate(model, [[1, 5]], { maxNewTokens: 20, eosId: null, sampling }))[0].ids;
    };
    expect(await draw(1)).toEqual(await draw(1));
    expect(await draw(1)).not.toEqual(await draw(2));
  });
});

describe("pickToken", () => {
  const logits = [Math.log(0.5), Math.log(0.1), Math.log(0.3), Math.log(0.1)];
  const shares = (sampling: { temperature: number; topP: number; topK: number }, seed = 1) => {
    const random = createRandom(seed);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[pickToken(logits, { ...sampling, random })]++;
    return counts.map((count) => count / 20_000);
  };
  const expectShares = (got: number[], want: number[]) => {
    // Four standard deviations of a share of 20,000 draws are at most 0.0142.
    for (const [i, share] of want.entries()) expect(Math.abs(got[i] - share)).toBeLessThan(0.015);
  };

  it("draws by probability", () => {
    expectShares(shares({ temperature: 1, topP: 1, topK: 0 }), [0.5, 0.1, 0.3, 0.1]);
  });

  it("sharpens with a low temperature: squares at 1/2", () => {
    const squares = [0.25, 0.01, 0.09, 0.01].map((share) => share / 0.36);
    expectShares(shares({ temperature: 0.5, topP: 1, topK: 0 }), squares);
    expect(shares({ temperature: 1e-9, topP: 1, topK: 0 })).toEqual([1, 0, 0, 0]);
  });

  it("keeps the likeliest by number and by mass", () => {
    expectShares(shares({ temperature: 1, topP: 1, topK: 2 }), [0.625, 0, 0.375, 0]);
    expectShares(shares({ temperature: 1, topP: 0.6, topK: 0 }), [0.625, 0, 0.375, 0]);
    expect(shares({ temperature: 1, topP: 0.3, topK: 0 })).toEqual([1, 0, 0, 0]);
    expect(shares({ temperature: 1, topP: 1e-9, topK: 9 })).toEqual([1, 0, 0, 0]);
  });

  it("takes the first of equals and stays within bounds whatever is drawn", () => {
    const highest = { ...createRandom(1), uniform: () => 1 - 2 ** -32 };
    expect(pickToken([0, 0, 0], { temperature: 1, topP: 1, topK: 0, random: highest })).toBe(2);
    expect(pickToken([0, 0, 0], { temperature: 1, topP: 1, topK: 1, random: highest })).toBe(0);
  });
});
