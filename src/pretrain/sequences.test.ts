import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { planSequences } from "./sequences.ts";
import type { TokenDocuments } from "./token-file.ts";

const MARKS = { start: 1, end: 2, mask: 3 };

/** Documents whose ids tell them apart: document d of length n has the ids first + 100 · d + 0..n−1. */
function documents(lengths: readonly number[], first: number): TokenDocuments {
  let end = 0;
  const ends = Uint32Array.from(lengths, (length) => {
    end += length;
    return end;
  });
  const tokens = Int32Array.from(lengths.flatMap((n, d) => Array.from({ length: n }, (_, i) => first + 100 * d + i)));
  return { tokens, ends, characters: tokens.length };
}
const rowsOf = (parts: readonly { answerIds: ArrayLike<number> }[]) =>
  parts.reduce((sum, part) => sum + part.answerIds.length, 0);

describe("planSequences", () => {
  it("passes once over every token of a source in full sequences, documents apart", () => {
    const plan = planSequences([{ name: "a", documents: documents([7, 1, 20, 0, 4], 1000), weight: 1 }], 8, MARKS, 1);
    // 7 + 1 + 20 + 0 + 4 ids, and an end mark each.
    expect(plan.perRound).toEqual([5]);
    const round = Array.from({ length: 5 }, (_, i) => plan.sequence(i));
    expect(round.map(rowsOf).sort((a, b) => b - a)).toEqual([8, 8, 8, 8, 5]);
    const learnt = round.flat().flatMap((part) => Array.from(part.answerIds));
    const ids = learnt.filter((id) => id !== MARKS.end).sort((a, b) => a - b);
    expect(ids).toEqual(Array.from(documents([7, 1, 20, 0, 4], 1000).tokens));
    expect(learnt.filter((id) => id === MARKS.end)).toHaveLength(5);
    for (const { promptIds, answerIds } of round.flat()) {
      // Each id follows the one before it in its document; only the start mark precedes a first one.
      const all = [promptIds[0], ...Array.from(answerIds)];
      for (let i = 1; i < all.length; i++) {
        if (all[i] === MARKS.end) expect(i).toBe(all.length - 1);
        else if (all[i - 1] === MARKS.start) expect(all[i] % 100).toBe(0);
        else expect(all[i]).toBe(all[i - 1] + 1);
      }
    }
  });

  it("gives a share of the sequences prefixes of every length, and changes nothing else", () => {
    const sources = [{ name: "a", documents: documents([7, 1, 20, 0, 4, 90, 30], 1000), weight: 1 }];
    const [causal, mixed] = [0, 0.4].map((share) =>
      planSequences(sources, 8, MARKS, 1, { prefixShare: share, maskShare: 0 }),
    );
    const idsOf = ({ promptIds, answerIds }: ReturnType<typeof causal.sequence>[number]) => [
      ...Array.from(promptIds),
      ...Array.from(answerIds),
    ];
    let withPrefix = 0;
    const lengths = new Set<number>();
    for (let i = 0; i < 400; i++) {
      const [plain, parts] = [causal.sequence(i), mixed.sequence(i)];
      expect(parts.map(idsOf)).toEqual(plain.map(idsOf));
      const prefixed = parts.filter(({ promptIds }) => promptIds.length > 1);
      if (prefixed.length > 0) {
        withPrefix++;
        // A part with a single target keeps it.
        for (const part of parts) expect(part.promptIds.length > 1).toBe(idsOf(part).length > 2);
      }
      for (const { promptIds, answerIds } of prefixed) {
        lengths.add(promptIds.length);
        expect(answerIds.length).toBeGreaterThan(0);
      }
      expect(mixed.sequence(i)).toEqual(parts);
    }
    // Five standard deviations of a share of 400 are 0.12; some sequences have only parts with a single target.
    expect(withPrefix / 400).toBeGreaterThan(0.28);
    expect(withPrefix / 400).toBeLessThan(0.52);
    expect([...lengths].sort()).toEqual([2, 3, 4, 5, 6, 7, 8]);
  });

  it("masks a share of the prefixes' ids, which become targets, and nothing else", () => {
    const sources = [{ name: "a", documents: documents([60, 90, 30], 1000), weight: 1 }];
    const [plain, masking] = [0, 0.2].map((maskShare) =>
      planSequences(sources, 32, MARKS, 1, { prefixShare: 1, maskShare }),
    );
    let masked = 0;
    let ids = 0;
    for (let i = 0; i < 300; i++) {
      const parts = masking.sequence(i);
      for (const [p, { promptIds, answerIds, maskedIds }] of parts.entries()) {
        if (promptIds.length < 2) continue;
        const restored = Array.from(promptIds, (id, at) => ((maskedIds?.[at] ?? -1) >= 0 ? maskedIds?.[at] : id));
        for (const [at, id] of Array.from(promptIds).entries()) expect((maskedIds?.[at] ?? -1) >= 0).toBe(id === 3);
        expect(maskedIds?.[0]).toBe(-1);
        const unmasked = plain.sequence(i)[p];
        expect(restored).toHaveLength(promptIds.length);
        if (i === 0 && p === 0) expect(restored).toEqual(Array.from(unmasked.promptIds));
        masked += Array.from(promptIds).filter((id) => id === 3).length;
        ids += promptIds.length - 1;
        expect(Array.from(answerIds)).not.toContain(3);
      }
      expect(masking.sequence(i)).toEqual(parts);
    }
    // Spans overlap: 1 − Π over what may cover a place = 1 − 0.9 · (1 − 0.1 · 2/3) · (1 − 0.1/3).
    expect(masked / ids).toBeGreaterThan(0.16);
    expect(masked / ids).toBeLessThan(0.22);
  });

  it("gives the sources their final weights from a sequence on", () => {
    const sources = ["a", "b"].map((name, s) => ({
      name,
      documents: documents(Array(40).fill(7), 1000 + 5000 * s),
      weight: [3, 1][s],
      finalWeight: [1, 4][s],
    }));
    const plan = planSequences(sources, 8, MARKS, 1, undefined, { from: 100 });
    const fromB = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => plan.sequence(from + i)).filter(
        ([part]) => Math.max(...Array.from(part.promptIds), ...Array.from(part.answerIds)) >= 6000,
      ).length;
    expect(fromB(0, 100)).toBe(25);
    expect(fromB(100, 200)).toBe(80);
    expect(plan.sequence(3)).toEqual(planSequences(sources, 8, MARKS, 1).sequence(3));
  });

  it("shuffles every round, equally for equal seeds", () => {
    const source = { name: "a", documents: documents(Array(40).fill(7), 1000), weight: 1 };
    const plan = (seed: number) => planSequences([source], 8, MARKS, seed);
    const [one, same, other] = [plan(1), plan(1), plan(2)];
    const sequences = Array.from({ length: 80 }, (_, i) => one.sequence(i));
    expect(sequences.slice(40)).not.toEqual(sequences.slice(0, 40));
    expect(other.sequence(3)).not.toEqual(sequences[3]);
    // Asked for in any order.
    for (const i of [79, 0, 41, 40, 7]) expect(same.sequence(i)).toEqual(sequences[i]);
  });

  it("mixes sources by weight, evenly over time", () => {
    const sources = [
      { name: "a", documents: documents([100], 1000), weight: 6 },
      { name: "b", documents: documents([30], 2000), weight: 3 },
      { name: "c", documents: documents([9], 3000), weight: 1 },
    ];
    const plan = planSequences(sources, 8, MARKS, 1);
    const from = (i: number) => Math.floor(Math.max(...Array.from(plan.sequence(i)[0].answerIds)) / 1000);
    const drawn = Array.from({ length: 200 }, (_, i) => from(i));
    for (let end = 20; end <= 200; end += 20) {
      const shares = [1, 2, 3].map((source) => drawn.slice(0, end).filter((one) => one === source).length / end);
      expect(Math.abs(shares[0] - 0.6)).toBeLessThan(0.06);
      expect(Math.abs(shares[1] - 0.3)).toBeLessThan(0.06);
      expect(Math.abs(shares[2] - 0.1)).toBeLessThan(0.06);
    }
  });

  it("refuses a source with nothing to train on", () => {
    const empty = { name: "b", documents: documents([], 1), weight: 1 };
    expect(() => planSequences([empty], 8, MARKS, 1)).toThrow(UserError);
    expect(() => planSequences([empty], 8, MARKS, 1)).toThrow("data.sources.b: has no documents to train on");
  });
});
