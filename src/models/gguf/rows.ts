import { UserError } from "../../base/errors.ts";
import { rotatedHeads } from "../layer.ts";
import type { DecoderSpec, RotaryLayout } from "../spec.ts";
import { reorderRotaryRows } from "../weight-rows.ts";
import type { GgufPart } from "./names.ts";

/** How many heads of queries or keys a part has, whose rows may need another order; 0 for any other part, and for slots in one matrix. */
export function reorderedHeads({ slots }: GgufPart, spec: DecoderSpec): number {
  return slots.length === 1 ? rotatedHeads(spec, slots[0]) : 0;
}

/** The rows of a part in another rotary layout; those of anything but queries and keys stay as they are. */
export function reorderPart(
  tensor: string,
  values: ArrayLike<number>,
  part: GgufPart,
  spec: DecoderSpec,
  from: RotaryLayout,
  to: RotaryLayout,
): Float32Array {
  const heads = reorderedHeads(part, spec);
  if (heads === 0 || from === to) return values instanceof Float32Array ? values : Float32Array.from(values);
  const rows = heads * spec.headWidth;
  if (values.length % rows !== 0) {
    throw new UserError(`"${tensor}" has ${values.length} values, which are no ${rows} rows.`, {
      hint: "Do the file's metadata belong to its tensors?",
    });
  }
  return reorderRotaryRows(values, heads, spec.headWidth, to);
}
