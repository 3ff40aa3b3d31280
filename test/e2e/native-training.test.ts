import { describe, expect, it } from "vitest";
import { adapterSchema, attachAdapter } from "../../src/adapters/methods.ts";
import { createRandom } from "../../src/base/random.ts";
import type { Backend } from "../../src/compute/backend.ts";
import { BF16_LEVELS, builtLevels, LEVELS, reasonAgainst, runnableLevels } from "../../src/compute/native/levels.ts";
import { nativeStatus, openNative } from "../../src/compute/native/open.ts";
import { openReference } from "../../src/compute/reference/backend.ts";
import { initDecoder } from "../../src/models/init.ts";
import { recipeSchema, type TrainSettings } from "../../src/recipe/schema.ts";
import { type EncodedExample, planSteps } from "../../src/train/batches.ts";
import { train } from "../../src/train/train.ts";
import { randomIds, TINY_SPEC } from "../tiny-model.ts";

const STEPS = 20;
const SPEC = { ...TINY_SPEC, vocabularySize: 200, width: 32, headWidth: 8, feedForward: 80, tiedHead: true };
SPEC.positions = { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: 8 };

const settings: TrainSettings = recipeSchema.shape.train.parse({
  epochs: 4,
  batchExamples: 4,
  accumulation: 2,
  learningRate: 0.003,
  dropout: 0.1,
  promptLoss: 0.1,
  weightDecay: 0.01,
});

/** Examples of uneven lengths with an answer that can be learned. */
function examples(): EncodedExample[] {
  const random = createRandom(1);
  return Array.from({ length: 40 }, (_, i) => {
    const key = 3 + (i % 5);
    const promptIds = [1, ...randomIds(random, 1 + random.below(37), SPEC.vocabularySize), key];
    return { promptIds, answerIds: [10 + key, 30 + key, 2] };
  });
}

async function lossesOn(backend: Backend, method: "full" | "lora"): Promise<number[]> {
  try {
    const trainable = method === "full";
    const model = await initDecoder(backend, SPEC, 7, { storage: "float32", trainable });
    const adapter = trainable
      ? { method: "full" as const }
      : adapterSchema.parse({ method: "lora", rank: 4, alpha: 32, dropout: 0.1, targets: "all" });
    const groups = await attachAdapter(model, adapter, 7);
    const rows = examples();
    const losses: number[] = [];
    for await (const step of train(model, groups, rows, planSteps(rows.length, settings, 7), settings, 7)) {
      losses.push(step.loss);
    }
    return losses;
  } finally {
    await backend.close();
  }
}

const status = nativeStatus();
for (const level of LEVELS.filter((name) => !status.levels.includes(name))) {
  const reason = status.reason ?? reasonAgainst(level, runnableLevels(), builtLevels());
  console.warn(`training is not compared on ${level}: ${reason}`);
}

describe("20 training steps", () => {
  for (const method of ["full", "lora"] as const) {
    for (const level of LEVELS) {
      for (const precision of ["float32", "bfloat16"] as const) {
        if (precision === "bfloat16" && !BF16_LEVELS.includes(level)) continue;
        const runsHere = status.levels.includes(level);
        it.skipIf(!runsHere)(`have the reference's losses: ${method}, ${level}, ${precision}`, async () => {
          const native = openNative({ level, precision, threads: 2 });
          const got = await lossesOn(native, method);
          const want = await reference(method);
          expect(want.length).toBe(STEPS);
          expect(want[STEPS - 1]).toBeLessThan(want[0]);
          const tolerance = precision === "bfloat16" ? 1e-2 : 1e-4;
          for (const [i, loss] of want.entries()) {
            const error = Math.abs(got[i] - loss) / loss;
            expect(error, `step ${i + 1}: ${got[i]}, the reference has ${loss}`).toBeLessThan(tolerance);
          }
        });
      }
    }
  }
});

const known = new Map<string, Promise<number[]>>();
function reference(method: "full" | "lora"): Promise<number[]> {
  const losses = known.get(method) ?? lossesOn(openReference({ precision: "float32" }), method);
  known.set(method, losses);
  return losses;
}
