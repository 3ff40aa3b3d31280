import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sequenceLogits } from "../../test/tiny-model.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { loadDecoder } from "../models/load.ts";
import { loadLora } from "./lora-files.ts";
import { weightsOf } from "./method.ts";
import { adapterSchema, attachAdapter } from "./methods.ts";
import { loadPrefix } from "./prefix.ts";

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden");
const folderOf = (name: string) => join(GOLDEN, "peft-methods", name, "adapter");
const IDS = [1, 17, 5, 44, 60];

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

async function base(): Promise<Decoder> {
  const checkpoint = await openCheckpoint(join(GOLDEN, "llama-peft"));
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  } finally {
    await checkpoint.source.close();
  }
}

const TARGETS = { rank: 3, alpha: 12, targets: ["q_proj", "v_proj", "up_proj", "down_proj"] };

describe("a training that continues from an adapter", () => {
  it.each([
    { method: "lora", ...TARGETS, scaling: "rslora", start: folderOf("rslora") },
    { method: "dora", ...TARGETS, start: folderOf("dora") },
    { method: "prefix", virtualTokens: 5, start: folderOf("prefix") },
  ])("begins with its weights: $method", async (values) => {
    const settings = adapterSchema.parse(values);
    const loaded = await base();
    if (values.method === "prefix") await loadPrefix(loaded, values.start);
    else await loadLora(loaded, values.start);
    const wanted = await sequenceLogits(loaded, IDS);
    const started = await base();
    const weights = weightsOf(await attachAdapter(started, settings, 1));
    expect(await sequenceLogits(started, IDS)).toEqual(wanted);
    expect(weights.every(({ trainable }) => trainable)).toBe(true);
    const fresh = await base();
    const others = weightsOf(await attachAdapter(fresh, settings, 1, { isResumed: true }));
    expect(others.map(({ name, rows, columns }) => [name, rows, columns])).toEqual(
      weights.map(({ name, rows, columns }) => [name, rows, columns]),
    );
    expect(await sequenceLogits(fresh, IDS)).not.toEqual(wanted);
  });

  it.each([
    [{ rank: 4 }, `adapter.rank is 4, but ${folderOf("dora")} has 3`],
    [{ alpha: 8 }, `adapter.alpha is 8, but ${folderOf("dora")} has 12`],
    [{ method: "lora" }, `adapter.method is "lora", but ${folderOf("dora")} has "dora"`],
    [{ targets: ["q_proj"] }, `adapter.targets is ["q_proj"], but ${folderOf("dora")} has ["down_proj","q_proj"`],
  ])("refuses %j", async (changes, problem) => {
    const settings = adapterSchema.parse({ method: "dora", ...TARGETS, start: folderOf("dora"), ...changes });
    await expect(attachAdapter(await base(), settings, 1)).rejects.toThrow(
      `The adapter that training starts from: ${problem}`,
    );
  });

  it("refuses a prefix of another length or with an encoder, and ranks that differ", async () => {
    const prefix = { method: "prefix", virtualTokens: 6, start: folderOf("prefix") } as const;
    await expect(attachAdapter(await base(), prefix, 1)).rejects.toThrow(
      `adapter.virtualTokens is 6, but ${folderOf("prefix")} has 5.`,
    );
    await expect(attachAdapter(await base(), { ...prefix, encoderWidth: 3 }, 1)).rejects.toThrow(
      "expected no adapter.encoderWidth",
    );
    const start = join(GOLDEN, "peft-elsewhere", "patterns");
    const lora = adapterSchema.parse({ method: "lora", rank: 2, alpha: 6, targets: ["q_proj", "v_proj"], start });
    await expect(attachAdapter(await base(), lora, 1)).rejects.toThrow(`${start}: "rank_pattern" cannot be kept here`);
  });
});
