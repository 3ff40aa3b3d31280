import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import type { WeightStorage } from "../compute/backend.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { Decoder } from "../models/decoder.ts";
import { sameBase } from "../models/same-base.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { RunFolder } from "./run-folder.ts";

/** Base models that runs opened together read once. Close it after the runs. */
export interface SharedBases {
  /** The decoder of a base without an adapter; `load` reads it at the first use of its key. */
  take(key: string, load: () => Promise<Decoder>): Promise<Decoder>;
  has(key: string): boolean;
  /** Number of base models that were read. */
  readonly size: number;
  close(): Promise<void>;
}

export function createSharedBases(): SharedBases {
  const loaded = new Map<string, Decoder>();
  return {
    async take(key, load) {
      const base = loaded.get(key) ?? (await load());
      loaded.set(key, base);
      return sameBase(base);
    },
    has: (key) => loaded.has(key),
    get size() {
      return loaded.size;
    },
    async close() {
      const models = [...loaded.values()];
      loaded.clear();
      for (const { backend } of models) await backend.close();
    },
  };
}

/** What makes the base models of two runs the same in memory: files, checksums that the runs noted, storage and use. */
export async function baseKey(
  folder: RunFolder,
  { model, prompt, precision }: Recipe,
  path: string,
  layers: WeightStorage = model.storage,
): Promise<string> {
  const noted = existsSync(folder.base)
    ? await readJsonObject(folder.base, "the fingerprint of a run's base model")
    : { fingerprint: null };
  const parts = [noted.weights, noted.fingerprint, noted.tokenizer, model.tokenizer];
  const sums = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  return JSON.stringify([await realpath(path), sums, model.storage, prompt.attention ?? "causal", precision, layers]);
}
