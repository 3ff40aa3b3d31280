import type { Weight } from "../compute/backend.ts";
import { type Decoder, decoderWeights } from "../models/decoder.ts";
import { attachLora, type LoraSettings, loraWeights } from "./lora.ts";

/** What of a model is trained: everything, or a low-rank adapter beside a frozen base. */
export type AdapterSettings = { method: "full" } | ({ method: "lora" } & LoraSettings);

/** Prepares a loaded model for training and returns its trainable weights in a fixed order. */
export function attachAdapter(model: Decoder, settings: AdapterSettings, seed: number): Weight[] {
  if (settings.method === "lora") {
    attachLora(model, settings, seed);
    return loraWeights(model);
  }
  return decoderWeights(model).filter((weight) => weight.trainable);
}
