import { describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import {
  chooseMentions,
  fitMentionScale,
  type MentionRow,
  mentionF1,
  mentionProbability,
  USUAL_SCALE,
} from "./mention-scores.ts";

const span = (text: string, share: number, ...starts: number[]) => ({
  text,
  share,
  starts: starts.length > 0 ? starts : [0],
});

describe("choosing mentions", () => {
  it("keeps what has about the largest share, the most probable first", () => {
    const found = chooseMentions([span("甲", 0.3, 0), span("乙公司", 0.4, 5), span("购", 0.02, 2)], USUAL_SCALE);
    expect(found.map(({ text }) => text)).toEqual(["乙公司", "甲"]);
    for (const { probability } of found) expect(probability).toBeGreaterThan(0.5);
    expect(chooseMentions([], USUAL_SCALE)).toEqual([]);
  });

  it("leaves out places that a more probable mention covers", () => {
    const shares = [span("中国平安", 0.5, 0), span("平安", 0.4, 2, 8)];
    expect(chooseMentions(shares, USUAL_SCALE).map(({ text, starts }) => [text, starts])).toEqual([
      ["中国平安", [0]],
      ["平安", [8]],
    ]);
    expect(chooseMentions([shares[0], span("平安", 0.4, 2)], USUAL_SCALE)).toHaveLength(1);
  });
});

describe("the scale of mentions", () => {
  /** Sentences with two or three entities; other parts get a tenth of their share, with noise. */
  const rows = (count: number, seed: number): MentionRow[] => {
    const random = createRandom(seed);
    return Array.from({ length: count }, () => {
      const names = ["甲", "乙", "丙"].slice(0, 2 + random.below(2));
      const noise = () => Math.exp(0.8 * random.normal());
      const all = [...names, "丁", "戊"].map((text, i) => ({
        text,
        starts: [2 * i],
        share: noise() * (names.includes(text) ? 1 : 0.1),
      }));
      const sum = all.reduce((total, { share }) => total + share, 0);
      return { shares: all.map((one) => ({ ...one, share: one.share / sum })), gold: names };
    });
  };

  it("gives probabilities that are as often right as they say", () => {
    const { scale, f1 } = fitMentionScale(rows(800, 1));
    const held = rows(2000, 2);
    let [expected, right] = [0, 0];
    for (const { shares, gold } of held) {
      const largest = Math.max(...shares.map(({ share }) => share));
      for (const { text, share } of shares) {
        const p = mentionProbability(scale, share, largest);
        if (p < 0.6 || p > 0.9) continue;
        expected += p;
        right += gold.includes(text) ? 1 : 0;
      }
    }
    expect(right / expected).toBeGreaterThan(0.93);
    expect(right / expected).toBeLessThan(1.07);
    expect(mentionF1(held, scale)).toBeCloseTo(f1, 1);
    expect(mentionF1(held, scale)).toBeGreaterThanOrEqual(mentionF1(held, { ...scale, threshold: 0.95 }));
  });

  it("stays the usual one where there is nothing to tell", () => {
    expect(fitMentionScale([]).scale).toMatchObject({ bias: USUAL_SCALE.bias, ofRatio: USUAL_SCALE.ofRatio });
    expect(fitMentionScale([{ shares: [span("甲", 1)], gold: ["甲"] }])).toMatchObject({ f1: 1 });
  });
});
