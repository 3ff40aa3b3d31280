import { UserError } from "../../base/errors.ts";
import type { MemoryUse, Tensor, Weight, WeightPart, WeightSpec, WeightStorage } from "../backend.ts";

/** A tensor of the native backend: the handle of its memory in the addon. */
export class NativeTensor implements Tensor {
  readonly rows: number;
  readonly columns: number;
  readonly wide: boolean;
  readonly handle: number;

  constructor(handle: number, rows: number, columns: number, wide: boolean) {
    this.handle = handle;
    this.rows = rows;
    this.columns = columns;
    this.wide = wide;
  }
}

export class NativeWeight implements Weight {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly storage: WeightStorage;
  readonly trainable: boolean;
  readonly handle: number;
  /** The packed copies for products that stand already; native/runtime/engine.cpp makes them when they are first needed. */
  packed: { forward: boolean; backward: boolean };

  constructor(handle: number, spec: WeightSpec) {
    this.handle = handle;
    this.name = spec.name;
    this.rows = spec.rows;
    this.columns = spec.columns;
    this.storage = spec.storage;
    this.trainable = spec.trainable;
    this.packed = { forward: spec.rows > 1, backward: false };
  }
}

export const PARTS: readonly WeightPart[] = ["value", "gradient", "moment1", "moment2"];
export const STORAGES: readonly WeightStorage[] = ["float32", "bfloat16", "int8", "nf4"];

/** Whether products backward to the input get a packed copy of frozen weights of their own: "auto" makes them while they are few. */
export type BackwardCopy = "auto" | "always" | "never";
const BACKWARD_COPIES: readonly BackwardCopy[] = ["auto", "always", "never"];

/** The copies that are asked for, by the caller or the environment; throws a UserError for other words. */
export function chooseBackwardCopy(wanted: BackwardCopy | undefined): BackwardCopy {
  const asked = wanted ?? (process.env.CRE_BACKWARD_COPY || "auto");
  const known = BACKWARD_COPIES.find((name) => name === asked);
  if (known) return known;
  throw new UserError(`CRE_BACKWARD_COPY is "${asked}", expected one of ${BACKWARD_COPIES.join(", ")}.`);
}

/** Frozen matrices up to so many bytes get second copies: models of about 1 B parameters in bfloat16. */
const MOST_COPIED_BYTES = 2.5e9;

export function asFloats(values: ArrayLike<number>): Float32Array {
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

const padded = (count: number) => Math.ceil(count / 32) * 32;

const isQuantized = ({ rows, storage }: WeightSpec) => rows > 1 && (storage === "int8" || storage === "nf4");

/** Bytes of a quantised matrix, as native/matmul/quantized.h lays it out. */
function quantizedBytes({ rows, columns, storage }: WeightSpec): number {
  const aligned = (bytes: number) => Math.ceil(bytes / 64) * 64;
  const rowBlocks = padded(rows) / 32;
  const groups = Math.ceil(columns / 64);
  const codes = padded(rows) * padded(columns);
  if (storage === "int8") return aligned(codes + rowBlocks * groups * 64);
  return aligned(aligned(codes / 2 + rowBlocks * groups * 32) + rowBlocks * Math.ceil(groups / 8) * 2) + 64;
}

const couldHaveTwo = (weight: NativeWeight) => !weight.trainable && weight.rows > 1 && !isQuantized(weight);

/** Knows which tensors and weights are alive and counts their bytes, padding included, as issued. */
export class NativeMemory {
  readonly #name: string;
  readonly #narrowBytes: number;
  readonly #backwardCopy: BackwardCopy;
  readonly #tensors = new Set<Tensor>();
  readonly #weights = new Set<Weight>();
  readonly #freed = new WeakSet<Tensor | Weight>();
  #bytes = 0;
  #peakBytes = 0;
  /** One packed copy of every frozen matrix that could have two. */
  #frozenBytes = 0;
  #closed = false;

  constructor(name: string, bfloat16: boolean, backwardCopy: BackwardCopy) {
    this.#name = name;
    this.#backwardCopy = backwardCopy;
    this.#narrowBytes = bfloat16 ? 2 : 4;
  }

  add(tensor: NativeTensor): NativeTensor {
    this.#tensors.add(tensor);
    this.#count(this.#tensorBytes(tensor));
    return tensor;
  }

  /** The tensor behind a handle of the contract; throws when it was freed or is of another backend. */
  use(operation: string, tensor: Tensor): NativeTensor {
    this.expectOpen(operation);
    if (this.#tensors.has(tensor)) return tensor as NativeTensor;
    const reason = this.#freed.has(tensor) ? "was freed" : "is not of this backend";
    throw new Error(`${operation}: the tensor [${tensor.rows},${tensor.columns}] ${reason}.`);
  }

  remove(tensor: NativeTensor): void {
    this.#tensors.delete(tensor);
    this.#freed.add(tensor);
    this.#count(-this.#tensorBytes(tensor));
  }

  addWeight(weight: NativeWeight): NativeWeight {
    this.#weights.add(weight);
    this.#count(this.#weightBytes(weight));
    if (couldHaveTwo(weight)) this.#frozenBytes += this.#packedBytes(weight);
    return weight;
  }

  useWeight(operation: string, weight: Weight): NativeWeight {
    this.expectOpen(operation);
    if (this.#weights.has(weight)) return weight as NativeWeight;
    const reason = this.#freed.has(weight) ? "was freed" : "is not of this backend";
    throw new Error(`${operation}: the weight "${weight.name}" ${reason}.`);
  }

  /** Counts a packed copy that an operation is about to need. */
  pack(weight: NativeWeight, copy: "forward" | "backward"): NativeWeight {
    if (!weight.packed[copy]) {
      weight.packed[copy] = true;
      this.#count(this.#packedBytes(weight));
    }
    return weight;
  }

  /** Whether a product backward to the input has a second copy of the weight to read, which is counted then. */
  packBackward(weight: NativeWeight): boolean {
    const { packed, trainable, rows } = weight;
    const wanted =
      this.#backwardCopy === "auto" ? this.#frozenBytes <= MOST_COPIED_BYTES : this.#backwardCopy === "always";
    if (isQuantized(weight) || !(packed.backward || trainable || rows === 1 || wanted)) return false;
    this.pack(weight, "backward");
    return true;
  }

  removeWeight(weight: NativeWeight): void {
    if (couldHaveTwo(weight)) this.#frozenBytes -= this.#packedBytes(weight);
    this.#weights.delete(weight);
    this.#freed.add(weight);
    this.#count(-this.#weightBytes(weight));
  }

  summary(): MemoryUse {
    return {
      bytes: this.#bytes,
      peakBytes: this.#peakBytes,
      tensors: this.#tensors.size,
      weights: this.#weights.size,
    };
  }

  /** False when it was closed before. */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    this.#tensors.clear();
    this.#weights.clear();
    this.#bytes = 0;
    return true;
  }

  expectOpen(operation: string): void {
    if (this.#closed) throw new Error(`${operation}: the ${this.#name} backend was closed.`);
  }

  #tensorBytes({ rows, columns, wide }: NativeTensor): number {
    return padded(rows) * padded(columns) * (wide ? 4 : this.#narrowBytes);
  }

  #packedBytes(weight: NativeWeight): number {
    const { rows, columns } = weight;
    if (isQuantized(weight)) return quantizedBytes(weight);
    return padded(rows) * padded(columns) * this.#narrowBytes;
  }

  #weightBytes(weight: NativeWeight): number {
    const { rows, columns, trainable, storage, packed } = weight;
    const partBytes = (rows === 1 ? padded(columns) : padded(rows) * padded(columns)) * 4;
    const keepsMaster = rows === 1 || trainable || (this.#narrowBytes === 2 && storage === "float32");
    const parts = (keepsMaster ? 1 : 0) + (trainable ? 3 : 0);
    const copies = (packed.forward ? 1 : 0) + (packed.backward ? 1 : 0);
    return parts * partBytes + copies * this.#packedBytes(weight);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
  }
}
