import { describe, expect, it } from "vitest";
import { createTokenNoise } from "./token-noise.ts";

const examples = Array.from({ length: 200 }, (_, i) => ({
  promptIds: [1, 10 + (i % 7), 20 + (i % 11), 30 + (i % 13), 2],
  answerIds: [5, 3],
}));

describe("createTokenNoise", () => {
  it("replaces about the given share, never marks, never answers, and is the same for the same seed", () => {
    const noise = createTokenNoise(examples, 0.3);
    if (!noise) throw new Error("expected noise");
    let replaced = 0;
    for (const [i, example] of examples.entries()) {
      const noisy = noise.apply(example, i);
      expect(noise.apply(example, i)).toEqual(noisy);
      expect(noisy.answerIds).toEqual(example.answerIds);
      expect([noisy.promptIds[0], noisy.promptIds[4]]).toEqual([1, 2]);
      for (let j = 1; j < 4; j++) {
        expect(noisy.promptIds[j]).toBeGreaterThanOrEqual(10);
        if (noisy.promptIds[j] !== example.promptIds[j]) replaced++;
      }
    }
    // Drawn among 31 tokens, some replacements give the token that was there.
    expect(replaced / 600).toBeGreaterThan(0.22);
    expect(replaced / 600).toBeLessThan(0.36);
  });

  it("leaves a prompt that the answer copies from, and the marks of the others", () => {
    // Without the marks 1 and 2 that the other prompts have.
    const copying = { promptIds: [90, 91, 92], answerIds: [91, 3], copiesPrompt: true };
    const noise = createTokenNoise([...examples, copying], 0.5);
    if (!noise) throw new Error("expected noise");
    expect(noise.apply(copying, 1)).toBe(copying);
    for (const [i, example] of examples.entries()) {
      const { promptIds } = noise.apply(example, i);
      expect([promptIds[0], promptIds[4]]).toEqual([1, 2]);
      expect(Array.from(promptIds).some((id) => id >= 90)).toBe(false);
    }
  });

  it("is off at 0 and where every prompt is the same", () => {
    expect(createTokenNoise(examples, 0)).toBeNull();
    expect(createTokenNoise([examples[0], examples[0]], 0.5)).toBeNull();
  });
});
