import type { TensorToWrite } from "../formats/tensor-source.ts";
import type { DecoderSpec } from "./spec.ts";
import { reorderRotaryRows } from "./weight-rows.ts";

/**
 * Reorders the rows of queries and keys, or of what a LoRA adapter adds to them, from interleaved rotary pairs to halves, the order of
 * Hugging Face's folders. Other tensors pass unchanged.
 */
export function rowsInHalves(
  tensors: readonly TensorToWrite[],
  { heads, keyValueHeads, headWidth }: Pick<DecoderSpec, "heads" | "keyValueHeads" | "headWidth">,
): TensorToWrite[] {
  const headsOf = (name: string) => {
    const [, part] = /\.([qk])_proj\.(?:(?:lora_B\.)?weight|lora_magnitude_vector)$/.exec(name) ?? [];
    return { q: heads, k: keyValueHeads }[part] ?? 0;
  };
  return tensors.map((tensor) => {
    const count = headsOf(tensor.name);
    if (count === 0) return tensor;
    return { ...tensor, values: async () => reorderRotaryRows(await tensor.values(), count, headWidth, "halves") };
  });
}
