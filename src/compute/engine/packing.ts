import { UserError } from "../../base/errors.ts";
import type { Tensor, Weight, WeightSpec } from "../backend.ts";
import type { ByteCount } from "../byte-count.ts";
import type { WeightOperand } from "../kernels.ts";

/** What an engine has of a weight. */
export interface PackedWeight {
  readonly handle: number;
  /** Whether each packed copy for products exists; native/runtime/engine.cpp makes one when a product first needs it. */
  readonly packed: { forward: boolean; backward: boolean };
}

export type PackedOperand = WeightOperand<PackedWeight>;

/** Whether products backward to the input read a packed copy of their own of frozen weights; "auto" makes copies of small models. */
export type BackwardCopy = "auto" | "always" | "never";
const BACKWARD_COPIES: readonly BackwardCopy[] = ["auto", "always", "never"];

/** The option, else the environment's CRE_BACKWARD_COPY, else "auto"; throws a UserError for other words. */
export function chooseBackwardCopy(wanted: BackwardCopy | undefined): BackwardCopy {
  const asked = wanted ?? (process.env.CRE_BACKWARD_COPY || "auto");
  const known = BACKWARD_COPIES.find((name) => name === asked);
  if (known) return known;
  throw new UserError(`CRE_BACKWARD_COPY is "${asked}", expected one of ${BACKWARD_COPIES.join(", ")}.`);
}

/** "auto" makes backward copies while the frozen matrices have at most these bytes: models of about 1 B parameters in bfloat16. */
const MOST_COPIED_BYTES = 2.5e9;

const padded = (count: number) => Math.ceil(count / 32) * 32;

const isQuantized = ({ rows, storage }: WeightSpec) => rows > 1 && ["int8", "nf4", "w8a8"].includes(storage);

/** Bytes of a quantised matrix in the layout of native/matmul/quantized.h or w8a8.h. */
function quantizedBytes({ rows, columns, storage }: WeightSpec): number {
  const aligned = (bytes: number) => Math.ceil(bytes / 64) * 64;
  const rowBlocks = padded(rows) / 32;
  const groups = Math.ceil(columns / 64);
  const codes = padded(rows) * padded(columns);
  if (storage === "w8a8") return codes + padded(rows) * Math.ceil(columns / 128) * 8;
  if (storage === "int8") return aligned(codes + rowBlocks * groups * 64);
  return aligned(aligned(codes / 2 + rowBlocks * groups * 32) + rowBlocks * Math.ceil(groups / 8) * 2) + 64;
}

const couldHaveTwo = (weight: WeightSpec) => !weight.trainable && weight.rows > 1 && !isQuantized(weight);

/** Chooses the packed copies of weights and counts their bytes, padding included. */
export class Packing {
  readonly #narrowBytes: number;
  readonly #backwardCopy: BackwardCopy;
  readonly #bytes: ByteCount;
  readonly #mostCopiedBytes: number;
  /** Bytes of one packed copy of every frozen matrix that could have two. */
  #frozenBytes = 0;

  constructor(
    bfloat16: boolean,
    backwardCopy: BackwardCopy,
    bytes: ByteCount,
    mostCopiedBytes: number = MOST_COPIED_BYTES,
  ) {
    this.#mostCopiedBytes = mostCopiedBytes;
    this.#narrowBytes = bfloat16 ? 2 : 4;
    this.#backwardCopy = backwardCopy;
    this.#bytes = bytes;
  }

  /** A new weight of the engine. */
  add(spec: WeightSpec, handle: number): PackedWeight {
    if (couldHaveTwo(spec)) this.#frozenBytes += this.#packedBytes(spec);
    return { handle, packed: { forward: spec.rows > 1, backward: false } };
  }

  remove(weight: Weight): void {
    if (couldHaveTwo(weight)) this.#frozenBytes -= this.#packedBytes(weight);
  }

  /** Counts a packed copy that the next product needs. */
  pack(weight: PackedOperand, copy: "forward" | "backward"): void {
    const { packed } = weight.data;
    if (packed[copy]) return;
    packed[copy] = true;
    this.#bytes.add(this.#packedBytes(weight));
  }

  /** Whether a product backward to the input reads a backward copy of the weight, which is then counted. */
  packBackward(weight: PackedOperand): boolean {
    const { trainable, rows, data } = weight;
    const wanted =
      this.#backwardCopy === "auto" ? this.#frozenBytes <= this.#mostCopiedBytes : this.#backwardCopy === "always";
    if (isQuantized(weight) || !(data.packed.backward || trainable || rows === 1 || wanted)) return false;
    this.pack(weight, "backward");
    return true;
  }

  tensorBytes({ rows, columns, wide }: Tensor): number {
    return padded(rows) * padded(columns) * (wide ? 4 : this.#narrowBytes);
  }

  weightBytes(weight: PackedOperand): number {
    const { rows, columns, trainable, storage, data } = weight;
    const partBytes = (rows === 1 ? padded(columns) : padded(rows) * padded(columns)) * 4;
    const keepsMaster = rows === 1 || trainable || (this.#narrowBytes === 2 && storage === "float32");
    const parts = (keepsMaster ? 1 : 0) + (trainable ? 3 : 0);
    const copies = (data.packed.forward ? 1 : 0) + (data.packed.backward ? 1 : 0);
    return parts * partBytes + copies * this.#packedBytes(weight);
  }

  #packedBytes(weight: WeightSpec): number {
    if (isQuantized(weight)) return quantizedBytes(weight);
    return padded(weight.rows) * padded(weight.columns) * this.#narrowBytes;
  }
}
