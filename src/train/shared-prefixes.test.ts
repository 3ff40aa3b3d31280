import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { randomIds, tinyDecoder } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import { openReference } from "../compute/reference/backend.ts";
import { decoderWeights, freeDecoder, rowPositions } from "../models/decoder.ts";
import { packSequences } from "../models/shared-prefixes.ts";
import { type EncodedAnswer, lossWeight, packExamples } from "./batches.ts";
import { addGradients } from "./train.ts";

const backend = openReference({ precision: "float64" });
afterAll(() => backend.close());

const counting = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

describe("packSequences", () => {
  it("lets sequences see a common beginning, to any depth", () => {
    const instruction = counting(100, 20);
    const sentence = counting(200, 30);
    const sequences = [
      [...instruction, ...sentence, 1, 2],
      [...instruction, ...counting(300, 5)],
      [...instruction, ...sentence, 3],
      counting(400, 4),
    ];
    const packed = packSequences(sequences, true);
    expect(packed.ids.length).toBe(20 + 30 + 2 + 1 + 5 + 4);
    const shared = { start: 0, length: 20, position: 0 };
    const second = { start: 20, length: 30, position: 20 };
    expect(packed.segments).toEqual([
      { start: 0, length: 20, keyStart: 0, position: 0, context: [] },
      { start: 20, length: 30, keyStart: 20, position: 20, context: [shared] },
      { start: 50, length: 2, keyStart: 50, position: 50, context: [shared, second] },
      { start: 52, length: 1, keyStart: 52, position: 50, context: [shared, second] },
      { start: 53, length: 5, keyStart: 53, position: 20, context: [shared] },
      { start: 58, length: 4, keyStart: 58, position: 0, context: [] },
    ]);
  });

  it("shares a bidirectional prompt only as a whole, and the answers behind it", () => {
    const prompt = counting(100, 20);
    const answer = counting(200, 18);
    const sequences = [
      [...prompt, ...answer, 1],
      [...prompt.slice(0, 19), 7, ...answer],
      [...prompt, ...answer, 2, 3],
      [...prompt, 4],
      prompt,
      [...prompt, 4],
    ];
    // The last one has the same tokens, but its prompt is shorter.
    const packed = packSequences(sequences, true, [20, 20, 20, 20, 20, 19]);
    const whole = { start: 0, length: 20, position: 0 };
    const after = { start: 20, length: 18, position: 20 };
    expect(packed.segments).toEqual([
      { start: 0, length: 20, keyStart: 0, position: 0, context: [], bidirectional: 20 },
      { start: 20, length: 18, keyStart: 20, position: 20, context: [whole] },
      { start: 38, length: 1, keyStart: 38, position: 38, context: [whole, after] },
      { start: 39, length: 2, keyStart: 39, position: 38, context: [whole, after] },
      { start: 41, length: 1, keyStart: 41, position: 20, context: [whole] },
      { start: 42, length: 38, keyStart: 42, position: 0, context: [], bidirectional: 20 },
      { start: 80, length: 21, keyStart: 80, position: 0, context: [], bidirectional: 19 },
    ]);
    expect(packed.rows.map((rows) => Array.from(rows, (row) => packed.ids[row]))).toEqual(sequences);
    const apart = packSequences(sequences, false, [20, 20, 20, 20, 20, 19]);
    expect([...apart.ids]).toEqual(sequences.flat());
    expect(apart.segments.map(({ bidirectional }) => bidirectional)).toEqual([20, 20, 20, 20, 20, 19]);
  });

  it("leaves short beginnings, and everything when not asked to share, as it is", () => {
    const sequences = [
      [1, 2, 3, 4],
      [1, 2, 3, 5, 6],
    ];
    for (const [share, rows] of [
      [true, sequences],
      [false, [counting(1, 40), counting(1, 40)]],
    ] as const) {
      const packed = packSequences(rows, share);
      expect([...packed.ids]).toEqual(rows.flat());
      expect(packed.segments.map(({ context }) => context.length)).toEqual([0, 0]);
    }
  });

  it("shows every token exactly the tokens before it", () => {
    // Words of 9 tokens from a small choice, so that beginnings of every length are common.
    const sequence = fc
      .tuple(
        fc.array(fc.constantFrom(10, 20, 30), { maxLength: 5 }),
        fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
      )
      .map(([words, rest]) => [...words.flatMap((word) => counting(word, 9)), ...rest]);
    fc.assert(
      fc.property(fc.array(sequence, { minLength: 1, maxLength: 8 }), (sequences) => {
        const packed = packSequences(sequences, true);
        const positions = rowPositions(packed);
        expect(packed.ids.length).toBeLessThanOrEqual(sequences.flat().length);
        const segmentOf = (row: number) =>
          packed.segments.find(({ start, length }) => row >= start && row < start + length)!;
        const got: unknown[] = [];
        const want: unknown[] = [];
        for (const [index, ids] of sequences.entries()) {
          for (const [i, row] of packed.rows[index].entries()) {
            const { start, position, context } = segmentOf(row);
            const own = { start, length: row - start + 1, position };
            const keys = [...context, own].flatMap((span) => counting(span.start, span.length));
            got.push(
              position + row - start,
              keys.map((key) => packed.ids[key]),
              keys.map((key) => positions[key]),
            );
            want.push(i, ids.slice(0, i + 1), counting(0, i + 1));
          }
        }
        expect(got).toEqual(want);
        expect(packed.segments.reduce((sum, { length }) => sum + length, 0)).toBe(packed.ids.length);
      }),
      { numRuns: 100 },
    );
  });

  it("gives the same loss and gradient", async () => {
    const random = createRandom(5);
    const instruction = randomIds(random, 18);
    const sentence = randomIds(random, 17);
    const example = (prompt: number[]): EncodedAnswer => ({ promptIds: prompt, answerIds: randomIds(random, 3) });
    const examples = [
      example([...instruction, ...sentence, 4]),
      example([...instruction, ...sentence, 5, 6]),
      example([...instruction, ...randomIds(random, 4)]),
      example(randomIds(random, 6)),
      example(instruction),
    ];
    const same = [example([...instruction, ...sentence, 4]), example([...instruction, ...sentence, 4])];
    for (const [promptLoss, attention, saved] of [
      [0, "causal", 5 * 18 + 3 * 17],
      [0.3, "causal", 5 * 18 + 3 * 17],
      [0, "both", 2 * 36],
    ] as const) {
      const results = [];
      for (const share of [false, true]) {
        const model = await tinyDecoder(backend, { seed: 3, trainable: true });
        const weights = decoderWeights(model);
        backend.zeroGradients(weights);
        const all = [...examples, ...same];
        const batch = packExamples(all, promptLoss, lossWeight(all, promptLoss), share, attention);
        // Activations that are computed again are the same ones.
        const loss = await addGradients(model, batch, { recompute: share, dropout: 0, labelSmoothing: 0.1 }, 1);
        const gradients: number[][] = [];
        for (const weight of weights) gradients.push([...(await backend.readWeight(weight, "gradient"))]);
        results.push({ loss, gradients: gradients.flat(), rows: batch.tokenCount });
        freeDecoder(model);
      }
      const [plain, shared] = results;
      expect(shared.rows).toBe(plain.rows - saved);
      expect(shared.loss).toBeCloseTo(plain.loss, 12);
      const worst = Math.max(...plain.gradients.map((value, i) => Math.abs(value - shared.gradients[i])));
      expect(worst).toBeLessThan(1e-12);
    }
  });
});
