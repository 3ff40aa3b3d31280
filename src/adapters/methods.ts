import { z } from "zod";
import type { Decoder } from "../models/decoder.ts";
import { dora } from "./dora.ts";
import { freeze } from "./freeze.ts";
import { full } from "./full.ts";
import { lora } from "./lora.ts";
import type { TuningMethod, WeightGroup } from "./method.ts";
import { prefix } from "./prefix.ts";

/** Every tuning method. A new one is a file and a line here. */
export const METHODS = [full, lora, freeze, dora, prefix] as const;

type Schemas<T extends readonly unknown[]> = {
  -readonly [K in keyof T]: T[K] extends { schema: infer Schema } ? Schema : never;
};

/** The `adapter` block of a recipe: `method` says which settings it has. */
export const adapterSchema = z.discriminatedUnion(
  "method",
  METHODS.map(({ schema }) => schema) as unknown as Schemas<typeof METHODS>,
);

export type AdapterSettings = z.output<typeof adapterSchema>;

/** The method that settings are for. */
export function methodOf(settings: AdapterSettings): TuningMethod<AdapterSettings> {
  return METHODS.find((method) => method.name === settings.method) as TuningMethod<AdapterSettings>;
}

/**
 * Prepares a loaded model for training: adds what the method needs and returns the trained weights. `isResumed`: their values come from a
 * checkpoint, so those that the training started from are not read.
 */
export function attachAdapter(
  model: Decoder,
  settings: AdapterSettings,
  seed: number,
  { isResumed = false }: { isResumed?: boolean } = {},
): Promise<WeightGroup[]> {
  const fresh = isResumed && "start" in settings ? { ...settings, start: undefined } : settings;
  return methodOf(settings).attach(model, fresh, seed);
}
