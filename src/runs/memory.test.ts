import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomIds, TINY_SPEC } from "../../test/tiny-model.ts";
import { type AdapterSettings, adapterSchema, attachAdapter, methodOf } from "../adapters/methods.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { initDecoder } from "../models/init.ts";
import { parameterCount } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { packExamples } from "../train/batches.ts";
import { addGradients } from "../train/train.ts";
import { expectRoom, type MemoryNeed, memoryNotice, memoryProblem, passBytes, weightNeed } from "./memory.ts";

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

const LLAMA_7B: DecoderSpec = {
  ...TINY_SPEC,
  ...{ vocabularySize: 32_000, tokenCount: 32_000, width: 4096, layers: 32, heads: 32, keyValueHeads: 32 },
  ...{ headWidth: 128, feedForward: 11_008, maxTokens: 4096 },
};
const lora = (rank: number): AdapterSettings => adapterSchema.parse({ method: "lora", rank, targets: "all" });
const TRAINED: [string, AdapterSettings][] = [
  ["full", { method: "full" }],
  ["freeze", { method: "freeze", layers: 1, modules: ["mlp"] }],
  ["LoRA", lora(3)],
  ["LoRA on some", { ...lora(2), targets: ["q_proj", "down_proj"] } as AdapterSettings],
];

describe("weightNeed", () => {
  it.each(TRAINED)("counts what the reference backend keeps for %s", async (_, settings) => {
    const method = methodOf(settings);
    const trainable = method.trainsOfBase(settings, TINY_SPEC);
    const model = await initDecoder(backend, TINY_SPEC, 1, { storage: "float32", trainable });
    await attachAdapter(model, settings, 1);
    const trained = { ofModel: trainable, added: method.addedNumbers(settings, TINY_SPEC) };
    const { weights, training, pass } = weightNeed(TINY_SPEC, "float32", trained, "reference");
    expect(weights + training).toBe(backend.memory().bytes);
    expect(pass).toBe(0);
  });

  it("knows the storages of the native backend", () => {
    const gigabytes = (storage: "float32" | "bfloat16" | "int8" | "nf4") =>
      weightNeed(LLAMA_7B, storage, undefined, "native").weights / 1e9;
    const parameters = parameterCount(LLAMA_7B) / 1e9;
    expect(gigabytes("float32")).toBeCloseTo(4 * parameters, 6);
    expect(gigabytes("bfloat16")).toBeCloseTo(2 * parameters, 2);
    // Embedding and head stay bfloat16.
    expect(gigabytes("int8")).toBeCloseTo(6.476 * (1 + 2 / 64) + 2 * 0.262, 1);
    expect(gigabytes("nf4")).toBeCloseTo(6.476 * (0.5 + 1 / 64) + 2 * 0.262, 1);
    const int8Products = weightNeed(LLAMA_7B, "bfloat16", { layers: "w8a8" }, "native").weights / 1e9;
    expect(int8Products).toBeCloseTo(6.476 * (1 + 8 / 128) + 2 * 0.262, 1);
    expect(weightNeed(LLAMA_7B, "nf4", undefined, "reference").weights / 1e9).toBeCloseTo(4 * parameters, 6);
    // The WebAssembly backend multiplies in float32 and keeps only int8 and nf4 as they are.
    expect(weightNeed(LLAMA_7B, "bfloat16", undefined, "wasm").weights / 1e9).toBeCloseTo(4 * parameters, 6);
    expect(weightNeed(LLAMA_7B, "int8", undefined, "wasm").weights / 1e9).toBeCloseTo(
      6.476 * (1 + 2 / 64) + 4 * 0.262,
      1,
    );
  });
});

describe("passBytes", () => {
  it.each([false, true])("is an upper bound of a pass, of the right size; recompute %s", async (recompute) => {
    const spec = { ...TINY_SPEC, layers: 6 };
    const model = await initDecoder(backend, spec, 1, { storage: "float32", trainable: true });
    const random = createRandom(1);
    const examples = Array.from({ length: 3 }, () => ({ promptIds: randomIds(random, 20), answerIds: [5, 6, 2] }));
    const before = backend.memory().bytes;
    const settings = { recompute, dropout: 0, labelSmoothing: 0 };
    const batch = packExamples(examples, 0, 9);
    await addGradients(model, batch, settings, 1);
    const measured = backend.memory().peakBytes - before;
    const estimate = passBytes(spec, { tokens: batch.tokenCount, outputs: batch.targets.length, recompute });
    expect(measured).toBeLessThan(1.25 * estimate);
    expect(measured).toBeGreaterThan(0.4 * estimate);
  });
});

describe("passBytes of a tuning method", () => {
  const spec = { ...TINY_SPEC, layers: 6 };
  const measured = async (settings: AdapterSettings, recompute: boolean) => {
    // Its own backend: the peak is that of all that it ever held.
    const own = openReference({ precision: "float32" });
    const model = await initDecoder(own, spec, 1, { storage: "float32", trainable: false });
    await attachAdapter(model, settings, 1);
    const random = createRandom(1);
    const examples = Array.from({ length: 3 }, () => ({ promptIds: randomIds(random, 60), answerIds: [5, 6, 2] }));
    const batch = packExamples(examples, 0, 9);
    const before = own.memory().bytes;
    await addGradients(model, batch, { recompute, dropout: 0, labelSmoothing: 0 }, 1);
    const bytes = own.memory().peakBytes - before;
    await own.close();
    return { bytes, tokens: batch.tokenCount, outputs: batch.targets.length };
  };

  const parsed = (values: object): AdapterSettings => adapterSchema.parse({ rank: 3, targets: "all", ...values });
  const plain = parsed({ method: "lora", dropout: 0 });
  const keptBy = (settings: AdapterSettings) => methodOf(settings).keptNumbers?.(settings, spec) ?? 0;

  it.each([
    ["LoRA's dropout", parsed({ method: "lora", dropout: 0.1 }), 16 + 16 + 16 + 16 + 16 + 16 + 24],
    ["the sums of DoRA", parsed({ method: "dora", dropout: 0 }), 16 + 8 + 8 + 16 + 24 + 24 + 16],
    ["both", parsed({ method: "dora", dropout: 0.1 }), 120 + 112],
  ])("has %s, which a pass keeps", async (_, settings, numbersOfLayer) => {
    expect(keptBy(settings) - keptBy(plain)).toBe(6 * numbersOfLayer);
    const without = await measured(plain, false);
    const own = await measured(settings, false);
    const { tokens, outputs } = own;
    const estimate = (kept: number) => passBytes(spec, { tokens, outputs, recompute: false, kept });
    const added = estimate(keptBy(settings)) - estimate(keptBy(plain));
    expect(added).toBe(4 * tokens * 6 * numbersOfLayer);
    // The estimate leaves out that dropout replaces its input, and that the last layer has few rows.
    expect((own.bytes - without.bytes) / added).toBeGreaterThan(0.45);
    expect((own.bytes - without.bytes) / added).toBeLessThan(1.15);
    for (const [{ bytes }, kept] of [
      [without, keptBy(plain)],
      [own, keptBy(settings)],
    ] as const) {
      expect(bytes / estimate(kept)).toBeGreaterThan(0.7);
      expect(bytes / estimate(kept)).toBeLessThan(1.25);
    }
    const once = passBytes(spec, { tokens, outputs, recompute: true, kept: keptBy(settings) });
    const bare = passBytes(spec, { tokens, outputs, recompute: true, kept: 0 });
    expect(once - bare).toBe((4 * tokens * keptBy(settings)) / 6);
  });

  it("has nothing for methods whose passes keep no more", () => {
    expect(keptBy({ method: "full" })).toBe(0);
    expect(keptBy(adapterSchema.parse({ method: "prefix", virtualTokens: 4 }))).toBe(0);
  });
});

describe("memoryProblem", () => {
  const need = (weights: number, training = 0, pass = 0): MemoryNeed => ({ weights, training, pass });

  it("says what is needed and what there is", () => {
    expect(memoryProblem(need(14e9, 2.5e12, 3e8), 8e9)).toBe(
      "needs about 2.5 TB of memory (weights 14.0 GB, training 2.5 TB, a pass 300 MB), but 8.0 GB of memory are available",
    );
    expect(memoryProblem(need(14e9), 16e9)).toBeNull();
  });

  it("names the limit of the WebAssembly backend with the model's size", () => {
    expect(memoryProblem(need(6e9), 64e9, "wasm")).toBe(
      "needs about 6.0 GB of memory (weights 6.0 GB), but the WebAssembly backend has at most 4.3 GB",
    );
    expect(memoryProblem(need(4e9), 64e9, "wasm")).toBeNull();
    expect(memoryProblem(need(6e9), 64e9, "native")).toBeNull();
    expect(memoryNotice(need(3e9), 64e9, "wasm")).toBe(
      "This needs about 3.0 GB of memory (weights 3.0 GB); the WebAssembly backend has at most 4.3 GB.",
    );
  });

  it("refuses a pass only when half of its estimate cannot fit", () => {
    expect(memoryProblem(need(1e9, 1e9, 10e9), 8e9)).toBeNull();
    expect(memoryProblem(need(1e9, 1e9, 13e9), 8e9)).toContain("a pass 13.0 GB");
  });

  it("is a line from half of the memory on", () => {
    expect(memoryNotice(need(1e9, 1e9, 1e9), 8e9)).toBeNull();
    expect(memoryNotice(need(3e9, 1e9, 1e9), 8e9)).toBe(
      "This needs about 5.0 GB of memory (weights 3.0 GB, training 1.0 GB, a pass 1.0 GB); 8.0 GB of memory are available.",
    );
  });

  it("names what makes the largest part smaller", () => {
    const hintOf = (...parts: [number, number?, number?]) => {
      try {
        expectRoom("base", need(...parts), undefined, 1e9);
      } catch (error) {
        return (error as { hint: string }).hint;
      }
    };
    expect(hintOf(9e9)).toContain("--storage");
    expect(hintOf(1e8, 9e9)).toContain("rank");
    expect(hintOf(1e8, 1e8, 9e9)).toContain("train.batchExamples");
    expect(hintOf(1e8, 1e8, 1e8)).toBeUndefined();
    const notices: string[] = [];
    expectRoom("base", need(6e8), (line) => notices.push(line), 1e9);
    expect(notices).toHaveLength(1);
  });
});
