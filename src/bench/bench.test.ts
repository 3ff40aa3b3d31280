import { describe, expect, it } from "vitest";
import { nativeStatus, openNative } from "../compute/native/open.ts";
import { recipeSchema } from "../recipe/schema.ts";
import { measureBatches } from "./batches.ts";
import { measureDecode } from "./decode.ts";
import { watchTimer } from "./timer.ts";
import { measureTrainStep } from "./train-step.ts";

const status = nativeStatus();
if (!status.available) console.warn(`bench.test.ts: skipped, ${status.reason}`);

describe("bench", () => {
  it("sees that the event loop was blocked", async () => {
    const timer = watchTimer();
    await new Promise((done) => setTimeout(done, 20));
    const until = performance.now() + 300;
    while (performance.now() < until);
    expect(timer.worstDelayMs()).toBeGreaterThan(150);
    timer.stop();
  });

  it.skipIf(!status.available)("times steps, operations and decoding", async () => {
    const backend = openNative({ profile: true });
    const small = { shape: "110m", layers: 1, storage: "bfloat16" } as const;
    const step = { sequences: 2, tokensEach: 16, answerTokens: 16, recompute: false };
    const result = await measureTrainStep(backend, { ...small, ...step, rounds: 2 });
    expect(result.tokens).toBe(32);
    expect(result.seconds).toHaveLength(2);
    expect(result.losses.every((loss) => loss > 5 && loss < 15)).toBe(true);
    // Forward and backward to the input of every frozen product but those before the first trained weight are counted.
    const productFlops = result.profile.reduce((sum, time) => sum + time.flops, 0) / 2;
    expect(productFlops / result.flops).toBeGreaterThan(0.8);
    expect(productFlops / result.flops).toBeLessThan(1.1);
    const decoded = await measureDecode(backend, { ...small, rows: 2, promptTokens: 4, newTokens: 3 });
    expect(decoded.secondsPerToken).toBeGreaterThan(0);
    await backend.close();
    expect(decoded.weightBytes).toBeGreaterThan(2 * 32_000 * 768);
  });

  it.skipIf(!status.available)(
    "lays batches out in five ways, with the same loss where prompts are read causally",
    async () => {
      const backend = openNative({});
      const instruction = Array.from({ length: 30 }, (_, i) => 50 + i);
      const examples = [3, 8, 1].map((length) => ({
        promptIds: [...instruction, ...Array.from({ length }, (_, i) => 100 + length + i)],
        answerIds: [7, 2],
      }));
      const settings = recipeSchema.shape.train.parse({ epochs: 1, batchExamples: 3, learningRate: 1e-3 });
      const options = { shape: "110m", layers: 1, passes: 1, rounds: 1, settings, seed: 1 } as const;
      const ways = await measureBatches(backend, examples, options);
      expect(ways.map(({ rows }) => rows)).toEqual([3 * 39, 34 + 39 + 32, 34 + 39 + 32, 30 + 4 + 9 + 2, 34 + 39 + 32]);
      expect(ways.map(({ headRows }) => headRows)).toEqual([117, 105, 6, 6, 6]);
      for (const { loss } of ways.slice(0, 4)) expect(loss / ways[0].loss).toBeCloseTo(1, 2);
      const wide = [{ promptIds: [40_000], answerIds: [2] }];
      await expect(measureBatches(backend, wide, options)).rejects.toThrow("more pieces than shape 110m");
      await backend.close();
    },
  );
});
