import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type EncodedAnswer, packExamples } from "./batches.ts";
import { cutStep, type PassRoom } from "./passes.ts";

const SETTINGS = { promptLoss: 0, sharePrefixes: true };
const counting = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
const answer = (promptIds: number[], answerIds = [7, 2]): EncodedAnswer => ({ promptIds, answerIds });
/** A pass of this many tokens fits. */
const roomOf = (bytes: number, leastExamples = 1): PassRoom => ({
  bytes,
  bytesOf: ({ tokens }) => tokens,
  leastExamples,
});
const tokensOf = (passes: readonly EncodedAnswer[][]) =>
  passes.map((pass) => packExamples(pass, 0, 1, true).tokenCount);

describe("cutStep", () => {
  const instruction = counting(100, 40);
  const sentences = [200, 300, 400, 500].map((from) => [...instruction, ...counting(from, 30)]);
  // Eight rows, two of each sentence, far from each other.
  const step = [...sentences, ...sentences].map((sentence, i) => answer([...sentence, 10 + i]));

  it("is one pass where memory allows, and as few as fit otherwise", () => {
    expect(cutStep(step, SETTINGS, "causal").length).toBe(1);
    expect(cutStep(step, SETTINGS, "causal", roomOf(1000)).length).toBe(1);
    const passes = cutStep(step, SETTINGS, "causal", roomOf(110));
    expect(tokensOf(passes)).toEqual([108, 108]);
    // A sequence longer than the room is a pass of its own; a pass may always have the recipe's examples.
    expect(cutStep(step, SETTINGS, "causal", roomOf(1)).length).toBe(8);
    expect(cutStep(step, SETTINGS, "causal", roomOf(1, 3)).map(({ length }) => length)).toEqual([3, 3, 2]);
  });

  it("keeps the sequences of a sentence together, so that few tokens are computed twice", () => {
    const inPairs = cutStep(step, SETTINGS, "causal", roomOf(76));
    expect(tokensOf(inPairs)).toEqual([74, 74, 74, 74]);
    const asDrawn = [0, 2, 4, 6].map((i) => step.slice(i, i + 2));
    expect(tokensOf(asDrawn)).toEqual([104, 104, 104, 104]);
  });

  it("counts a prompt that is read in both directions as shared only where it is the same", () => {
    expect(cutStep(step, SETTINGS, "both", roomOf(145)).length).toBe(4);
    const same = [answer([...sentences[0]], [1, 2]), answer([...sentences[0]], [3, 4])];
    expect(cutStep(same, SETTINGS, "both", roomOf(80)).length).toBe(1);
    expect(cutStep(same, { ...SETTINGS, sharePrefixes: false }, "causal", roomOf(80)).length).toBe(2);
  });

  it("keeps the answers of an example together", () => {
    const taught = sentences.flatMap((promptIds) => [3, 4, 5].map((id) => answer(promptIds, [id, 2])));
    expect(cutStep(taught, SETTINGS, "causal", roomOf(1)).map(({ length }) => length)).toEqual([3, 3, 3, 3]);
    expect(cutStep(taught, SETTINGS, "causal", roomOf(1, 2)).map(({ length }) => length)).toEqual([6, 6]);
  });

  it("loses no sequence, whatever the room", () => {
    const sequence = fc.tuple(fc.nat(3), fc.array(fc.nat(2), { minLength: 1, maxLength: 40 }));
    fc.assert(
      fc.property(
        fc.array(sequence, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 400 }),
        (all, bytes) => {
          const given = all.map(([key, ids]) => answer(ids, [key, 2]));
          const passes = cutStep(given, SETTINGS, "causal", roomOf(bytes));
          expect(passes.flat().length).toBe(given.length);
          expect(new Set(passes.flat())).toEqual(new Set(given));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("orders a pass so that attention joins whole blocks", () => {
    // Behind the shared beginning: 200, 150, 100 and 50 rows; attention joins up to 256.
    const lengths = [100, 200, 50, 150];
    const rows = lengths.map((length, i) => answer([...instruction, ...counting(1000 * (i + 1), length - 1)]));
    const [pass] = cutStep(rows, SETTINGS, "causal");
    expect(pass.map(({ promptIds }) => promptIds.length - 39)).toEqual([200, 50, 150, 100]);
  });
});
