import { describe, expect, it } from "vitest";
import { embeddingNoise, longestOf } from "./embedding-noise.ts";

const shared = { start: 0, length: 40, position: 0 };
const tokens = {
  ids: new Int32Array(70),
  // A prefix of 40 tokens and two sequences behind it: the longest has 60.
  segments: [
    { ...shared, keyStart: 0, context: [] },
    { start: 40, length: 20, keyStart: 40, position: 40, context: [shared] },
    { start: 60, length: 10, keyStart: 60, position: 40, context: [shared] },
  ],
};

describe("embeddingNoise", () => {
  it("is uniform in ±alpha / √(longest sequence · width)", () => {
    const noise = embeddingNoise(tokens, longestOf(tokens), 64, 5, 7);
    expect(noise).toHaveLength(70 * 64);
    const bound = 5 / Math.sqrt(60 * 64);
    const largest = noise.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest).toBeLessThanOrEqual(Math.fround(bound));
    expect(largest).toBeGreaterThan(0.99 * bound);
    const mean = noise.reduce((sum, value) => sum + value, 0) / noise.length;
    const variance = noise.reduce((sum, value) => sum + value * value, 0) / noise.length;
    expect(Math.abs(mean)).toBeLessThan(0.03 * bound);
    expect(variance / (bound * bound)).toBeCloseTo(1 / 3, 1);
  });

  it("is the same for the same seed, another for another, and grows with alpha", () => {
    const noise = embeddingNoise(tokens, longestOf(tokens), 8, 5, 7);
    expect(embeddingNoise(tokens, longestOf(tokens), 8, 5, 7)).toEqual(noise);
    expect(embeddingNoise(tokens, longestOf(tokens), 8, 5, 8)).not.toEqual(noise);
    expect(embeddingNoise(tokens, longestOf(tokens), 8, 10, 7)).toEqual(noise.map((value) => 2 * value));
  });
});
