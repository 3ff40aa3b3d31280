import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { naiveLogits } from "../../test/naive-decoder.ts";
import { randomIds, TINY_SPEC, tinyDecoder } from "../../test/tiny-model.ts";
import { attachLora, loraWeights } from "../adapters/lora-weights.ts";
import { createRandom } from "../base/random.ts";
import { createTape } from "../compute/autograd.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import {
  createCache,
  type Decoder,
  decoderWeights,
  forward,
  freeCache,
  freeDecoder,
  type PackedTokens,
} from "./decoder.ts";
import { rotaryFrequencies } from "./rotary.ts";

const V = TINY_SPEC.vocabularySize;

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float64" });
});
afterEach(() => backend.close());

function pack(sequences: readonly (readonly number[])[]): PackedTokens {
  const segments = [];
  let start = 0;
  for (const { length } of sequences) {
    segments.push({ start, length, keyStart: start, position: 0, context: [] });
    start += length;
  }
  return {
    ids: Int32Array.from(sequences.flat()),
    segments,
  };
}

async function logitsOf(model: Decoder, tokens: PackedTokens, record = false): Promise<number[][]> {
  const tape = createTape(backend, { record });
  try {
    const logits = forward(model, tape, tokens).tensor;
    const values = Array.from(await backend.read(logits));
    return Array.from({ length: logits.rows }, (_, row) => values.slice(row * V, (row + 1) * V));
  } finally {
    tape.dispose();
  }
}

const expectClose = (got: number[][], wanted: number[][], digits = 10) => {
  expect(got.length).toBe(wanted.length);
  for (const [i, row] of wanted.entries())
    for (const [j, value] of row.entries()) expect(got[i][j]).toBeCloseTo(value, digits);
};

describe("forward", () => {
  const random = createRandom(1);
  const sequences = [randomIds(random, 7), randomIds(random, 1), randomIds(random, 4)];

  it("gives packed sequences what each gives alone", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const alone = [];
    for (const ids of sequences) alone.push(...(await logitsOf(model, pack([ids]))));
    expectClose(await logitsOf(model, pack(sequences)), alone);
  });

  it("lets a token see what is before it and nothing after", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [ids] = sequences;
    const wanted = await logitsOf(model, pack([ids]));
    const changed = [...ids];
    changed[4] = ids[4] === 5 ? 6 : 5;
    const got = await logitsOf(model, pack([changed]));
    expect(got.slice(0, 4)).toEqual(wanted.slice(0, 4));
    for (let t = 4; t < 7; t++) expect(got[t]).not.toEqual(wanted[t]);
  });

  it.each([
    ["rotary", TINY_SPEC.positions],
    ["alibi", { kind: "alibi" }],
  ] as const)("lets the tokens of a prompt see each other, the answer what is before it: %s", async (_, positions) => {
    const model = await tinyDecoder(backend, { seed: 2, spec: { positions } });
    const prompts = [5, 1, 3];
    const tokens = pack(sequences);
    const segments = tokens.segments.map((segment, i) => ({ ...segment, bidirectional: prompts[i] }));
    const wanted = [];
    for (const [i, ids] of sequences.entries()) wanted.push(...(await naiveLogits(model, ids, false, prompts[i])));
    const got = await logitsOf(model, { ...tokens, segments });
    // The decoder's angles are float32.
    expectClose(got, wanted, 7);
    expect(got[0]).not.toEqual((await logitsOf(model, tokens))[0]);
  });

  it("knows distances, not places", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const tokens = pack([sequences[0]]);
    const wanted = await logitsOf(model, tokens);
    const [segment] = tokens.segments;
    expectClose(await logitsOf(model, { ...tokens, segments: [{ ...segment, position: 100 }] }), wanted);
    const rows = Array.from(tokens.ids, (_, i) => ({ start: i, length: 1, position: 2 * i }));
    const segments = rows.map((row, i) => ({ ...row, keyStart: i, context: rows.slice(0, i) }));
    const spread = await logitsOf(model, { ...tokens, segments });
    expect(Math.abs(spread[6][0] - wanted[6][0])).toBeGreaterThan(1e-3);
  });

  it("gives the wanted rows only", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const tokens = pack(sequences);
    const all = await logitsOf(model, tokens);
    const rows = [11, 0, 7, 7];
    expectClose(
      await logitsOf(model, { ...tokens, outputRows: Int32Array.from(rows) }),
      rows.map((row) => all[row]),
    );
  });

  it.each([false, true])("gives the gradients of the wanted rows only (recomputing: %s)", async (recompute) => {
    const model = await tinyDecoder(backend, { seed: 1, trainable: true });
    attachLora(model, { rank: 2, alpha: 8, dropout: 0, targets: "all" }, 3);
    const tokens = pack(sequences);
    const rows = [11, 0, 7, 7, 3];
    const gradients = async (outputRows: number[], weightOf: (row: number) => number) => {
      backend.zeroGradients(decoderWeights(model));
      const tape = createTape(backend, { record: true, recompute });
      const logits = forward(model, tape, { ...tokens, outputRows: Int32Array.from(outputRows) });
      const targets = Int32Array.from(outputRows, (row) => row + 5);
      tape.backward(tape.crossEntropy(logits, targets, Float32Array.from(outputRows, weightOf)));
      tape.dispose();
      return Promise.all(
        decoderWeights(model).map(async (weight) => [...(await backend.readWeight(weight, "gradient"))]),
      );
    };
    const counted = (row: number) => rows.filter((wanted) => wanted === row).length;
    expectClose(await gradients(rows, () => 1), await gradients([...tokens.ids.keys()], counted));
  });

  it("gives the same with keys and values from a cache, in any pieces", async () => {
    const model = await tinyDecoder(backend, { seed: 1, spec: { tiedHead: true } });
    const [ids] = sequences;
    const wanted = await logitsOf(model, pack([ids]));
    for (const pieces of [[7], [1, 1, 1, 1, 1, 1, 1], [3, 4], [2, 1, 4]]) {
      // The sequence starts at row 5 of a longer cache.
      const store = createCache(model, 20);
      const got: number[][] = [];
      let past = 0;
      for (const length of pieces) {
        const context = past > 0 ? [{ start: 5, length: past, position: 0 }] : [];
        got.push(
          ...(await logitsOf(model, {
            ids: Int32Array.from(ids.slice(past, past + length)),
            segments: [{ start: 0, length, keyStart: 5 + past, position: past, context }],
            cache: { store, rows: Int32Array.from({ length }, (_, i) => 5 + past + i) },
          })),
        );
        past += length;
      }
      expectClose(got, wanted);
      freeCache(model, store);
    }
    freeDecoder(model);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0, bytes: 0 });
  });

  it("shares a prefix between sequences through context spans", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const [prefix, , rest] = sequences;
    const other = [rest[1], rest[0], 9];
    const tokens: PackedTokens = {
      ids: Int32Array.from([...prefix, ...rest, ...other]),
      segments: [
        { start: 0, length: 7, keyStart: 0, position: 0, context: [] },
        { start: 7, length: 4, keyStart: 7, position: 7, context: [{ start: 0, length: 7, position: 0 }] },
        { start: 11, length: 3, keyStart: 11, position: 7, context: [{ start: 0, length: 7, position: 0 }] },
      ],
    };
    const got = await logitsOf(model, tokens);
    expectClose(got.slice(7, 11), (await logitsOf(model, pack([[...prefix, ...rest]]))).slice(7));
    expectClose(got.slice(11), (await logitsOf(model, pack([[...prefix, ...other]]))).slice(7));
  });
});

describe("dropout", () => {
  it("depends on its seed and is off without one", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    const tokens = pack([randomIds(createRandom(2), 6)]);
    const plain = await logitsOf(model, tokens, true);
    const withDropout = (probability: number, seed: number) =>
      logitsOf(model, { ...tokens, dropout: { probability, seed } }, true);
    expectClose(await withDropout(0, 1), plain);
    expect(await withDropout(0.3, 1)).toEqual(await withDropout(0.3, 1));
    expect(await withDropout(0.3, 1)).not.toEqual(await withDropout(0.3, 2));
    expect(await withDropout(0.3, 1)).not.toEqual(plain);
  });

  it("of an adapter acts while recording only, another one for each place", async () => {
    const model = await tinyDecoder(backend, { seed: 1 });
    attachLora(model, { rank: 2, alpha: 8, dropout: 0.5, targets: "all" }, 3);
    const random = createRandom(4);
    for (const weight of loraWeights(model)) {
      const count = weight.rows * weight.columns;
      backend.writeWeight(
        weight,
        Float64Array.from({ length: count }, () => random.normal() * 0.3),
      );
    }
    const tokens = pack([randomIds(createRandom(2), 6)]);
    const plain = await logitsOf(model, { ...tokens, seed: 1 });
    expect(await logitsOf(model, { ...tokens, seed: 2 })).toEqual(plain);
    const recorded = await logitsOf(model, { ...tokens, seed: 1 }, true);
    expect(recorded).not.toEqual(plain);
    expect(await logitsOf(model, { ...tokens, seed: 1 }, true)).toEqual(recorded);
    expect(await logitsOf(model, { ...tokens, seed: 2 }, true)).not.toEqual(recorded);
  });
});

describe("dropout with numbers", () => {
  it("gives wanted rows the logits of a pass that computes all rows, in any order", async () => {
    const spec = { layers: 2 };
    const model = await tinyDecoder(backend, { seed: 1, deviation: 0.2, spec });
    attachLora(model, { rank: 2, alpha: 8, dropout: 0.4, targets: "all" }, 3);
    const random = createRandom(4);
    for (const weight of loraWeights(model)) {
      const count = weight.rows * weight.columns;
      backend.writeWeight(
        weight,
        Float64Array.from({ length: count }, () => random.normal() * 0.3),
      );
    }
    const sequences = [randomIds(createRandom(2), 6), randomIds(createRandom(3), 5)];
    const numbers = sequences.map((ids, s) => ids.map((_, i) => Math.imul(1000 * s + i + 1, 0x9e3779b1)));
    const at = (order: number[]) => ({
      ...pack(order.map((s) => sequences[s])),
      rowNumbers: Int32Array.from(order.flatMap((s) => numbers[s])),
      dropout: { probability: 0.2, seed: 8 },
      seed: 8,
    });
    const all = await logitsOf(model, at([0, 1]), true);
    for (const rows of [[4], [2, 9, 10], [3, 3, 7]]) {
      const outputRows = Int32Array.from(rows);
      const wanted = rows.map((row) => all[row]);
      expectClose(await logitsOf(model, { ...at([0, 1]), outputRows }, true), wanted);
      const turned = outputRows.map((row) => (row < 6 ? row + 5 : row - 6));
      expectClose(await logitsOf(model, { ...at([1, 0]), outputRows: turned }, true), wanted);
    }
    // Without numbers a row has that of its place, also in a short last layer.
    const { rowNumbers: _, ...byPlace } = at([0, 1]);
    const plain = await logitsOf(model, byPlace, true);
    const some = await logitsOf(model, { ...byPlace, outputRows: Int32Array.of(2, 9) }, true);
    expectClose(some, [plain[2], plain[9]]);
  });
});

describe("a decoder", () => {
  it("lists every weight once, adapters included, and frees them", async () => {
    for (const tiedHead of [true, false]) {
      const model = await tinyDecoder(backend, { seed: 1, spec: { tiedHead } });
      const base = 2 * 9 + (tiedHead ? 2 : 3);
      expect(decoderWeights(model)).toHaveLength(base);
      attachLora(model, { rank: 2, alpha: 8, dropout: 0, targets: ["q_proj"] }, 3);
      const weights = decoderWeights(model);
      expect(weights).toHaveLength(base + 4);
      expect(new Set(weights.map(({ name }) => name)).size).toBe(base + 4);
      freeDecoder(model);
      expect(backend.memory()).toMatchObject({ weights: 0, bytes: 0 });
    }
  });

  it("rotates pair i by base^(−2i/width) a position", () => {
    const positions = { kind: "rotary", layout: "halves", base: 10_000, rotatedWidth: 8 } as const;
    const wanted = [1, 0.1, 0.01, 0.001];
    for (const [i, frequency] of rotaryFrequencies(positions).entries()) expect(frequency).toBeCloseTo(wanted[i], 8);
    expect(rotaryFrequencies({ ...positions, rotatedWidth: 4 })).toHaveLength(2);
  });
});
