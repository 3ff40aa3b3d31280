import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openGivenAdapter } from "../../src/adapters/given.ts";
import { createTape } from "../../src/compute/autograd.ts";
import type { Backend } from "../../src/compute/backend.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { openCheckpoint } from "../../src/models/checkpoint.ts";
import { forward } from "../../src/models/decoder.ts";
import { loadDecoder } from "../../src/models/load.ts";
import { packed } from "./loss-and-gradients.ts";

/** What test/golden/make/peft_elsewhere.py has made. */
export interface Elsewhere {
  sequences: number[][];
  /** For each folder its base in test/golden, and whether it is read here. */
  cases: Record<string, { base: string; read: boolean }>;
}

export function readElsewhere(folder: string): Elsewhere {
  return JSON.parse(readFileSync(join(folder, "golden.json"), "utf8")) as Elsewhere;
}

/** PEFT's logits of a case, of all rows. */
export async function theirLogits(folder: string, name: string): Promise<ArrayLike<number>> {
  const numbers = await openSafetensors(join(folder, "logits.safetensors"));
  try {
    return await numbers.read(name);
  } finally {
    await numbers.close();
  }
}

/** The logits of all rows, of an adapter on a base of test/golden. */
export async function elsewhereLogits(
  backend: Backend,
  adapter: string,
  base: string,
  sequences: readonly number[][],
): Promise<ArrayLike<number>> {
  const given = await openCheckpoint(join(import.meta.dirname, base));
  try {
    const { checkpoint, saved, close } = await openGivenAdapter(adapter, given);
    try {
      const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
      await saved.load(model, adapter);
      const tape = createTape(backend, { record: false });
      const { tokens } = packed({ sequences: [...sequences], promptTokens: sequences.map(() => 1) });
      const logits = await backend.read(forward(model, tape, tokens).tensor);
      tape.dispose();
      return logits;
    } finally {
      await close();
    }
  } finally {
    await given.source.close();
  }
}
