import { UserError } from "../base/errors.ts";
import type { WeightStorage } from "../compute/backend.ts";
import { BYTE_PRODUCTS } from "../compute/byte-products.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";

/**
 * How the layers' matrices are kept to answer: as w8a8 for products of 8 bits, else as the recipe says. `instructions` compute these products
 * here; null where none of this processor's gave right sums. Throws a UserError where they are asked for and not to be had.
 */
export function layerStorageOf(
  { precision }: Pick<DecodeSettings, "precision">,
  storage: ModelStorage,
  instructions: string | null,
  onNotice: (line: string) => void = () => {},
): WeightStorage {
  const { gain, isDefault } = BYTE_PRODUCTS[instructions ?? ""] ?? { gain: null, isDefault: false };
  if (precision === "float" || (precision === "auto" && !isDefault)) return storage;
  if (instructions === null) {
    throw new UserError(
      'decode.precision is "int8", but 8-bit products gave wrong sums when this processor was tested: they are not offered here.',
      { hint: "Use float (--products float), and report the processor's name." },
    );
  }
  if (gain !== null && gain < 1) {
    onNotice(`8-bit products (${instructions}) are slower here than float ones; --products float turns them off.`);
  }
  return "w8a8";
}
