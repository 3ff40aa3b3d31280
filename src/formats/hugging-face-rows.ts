import { turnRotaryRows } from "./rotary-rows.ts";
import type { TensorToWrite } from "./tensor-source.ts";

/** Sizes of attention. */
interface Heads {
  heads: number; // H
  keyValueHeads: number; // G
  headWidth: number; // D
}

/**
 * Reorders the rows of queries and keys, or of what a LoRA adapter adds to them, from interleaved rotary pairs to halves, the order of
 * Hugging Face's folders. Other tensors pass unchanged.
 */
export function rowsInHalves(
  tensors: readonly TensorToWrite[],
  { heads, keyValueHeads, headWidth }: Heads,
): TensorToWrite[] {
  const headsOf = (name: string) => {
    const [, part] = /\.([qk])_proj\.(?:lora_B\.)?weight$/.exec(name) ?? [];
    return { q: heads, k: keyValueHeads }[part] ?? 0;
  };
  return tensors.map((tensor) => {
    const count = headsOf(tensor.name);
    if (count === 0) return tensor;
    return { ...tensor, values: async () => turnRotaryRows(await tensor.values(), count, headWidth, "halves") };
  });
}
