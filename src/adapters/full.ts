import { z } from "zod";
import { decoderWeights } from "../models/decoder.ts";
import { oneGroup, type TuningMethod } from "./method.ts";

const schema = z.strictObject({ method: z.literal("full").describe("What is trained: all weights.") });

/** Full fine-tuning: every weight of the model is trained. */
export const full = {
  name: "full",
  schema,
  // Stanford Alpaca with 7B.
  usualLearningRate: 2e-5,
  storages: ["float32", "bfloat16"],
  startsFrom: "any",
  resolve: (settings) => settings,
  problems: () => [],
  trainsOfBase: () => true,
  addedNumbers: () => 0,
  async attach(model) {
    return oneGroup(decoderWeights(model).filter(({ trainable }) => trainable));
  },
  saved: { kind: "model" },
} satisfies TuningMethod<z.output<typeof schema>>;
