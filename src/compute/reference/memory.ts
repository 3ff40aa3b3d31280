import type { MemoryUse, Tensor, Values, Weight, WeightPart, WeightSpec, WeightStorage } from "../backend.ts";
import { roundToBfloat16 } from "../backend.ts";
import { checkTrainable, checkValues, checkWeightPart, checkWeightSpec } from "../check.ts";
import { roundToInt8, roundToNf4 } from "../quantize.ts";
import type { Matrix } from "./products.ts";

/** A tensor of the reference backend: row-major values in JavaScript memory. */
export interface ReferenceTensor extends Tensor {
  readonly values: Values;
}

export interface ReferenceWeight extends Weight {
  /** The value at full precision: what "value" reads. */
  readonly values: Values;
  /** What products read, as a matrix; its numbers are `values` itself unless the storage is smaller. */
  readonly product: Matrix;
  readonly training: TrainingParts | null;
}

interface TrainingParts {
  gradient: Values;
  moment1: Values;
  moment2: Values;
}

/** Owns the tensors and weights of a reference backend and counts them. */
export class ReferenceMemory {
  readonly precision: "float32" | "float64";
  readonly #tensors = new Set<Tensor>();
  readonly #weights = new Set<Weight>();
  readonly #freed = new WeakSet<Tensor | Weight>();
  #bytes = 0;
  #peakBytes = 0;
  #closed = false;

  constructor(precision: "float32" | "float64") {
    this.precision = precision;
  }

  /** A new tensor of zeros. */
  make(rows: number, columns: number, wide: boolean): ReferenceTensor {
    this.#expectOpen("tensor");
    const made: ReferenceTensor = { rows, columns, wide, values: this.#allocate(rows * columns) };
    this.#tensors.add(made);
    this.#count(made.values.byteLength);
    return made;
  }

  /** The tensor behind a handle; throws when it was freed or is of another backend. */
  use(operation: string, tensor: Tensor): ReferenceTensor {
    this.#expectOpen(operation);
    if (this.#tensors.has(tensor)) return tensor as ReferenceTensor;
    const reason = this.#freed.has(tensor) ? "was freed" : "is not of this backend";
    throw new Error(`${operation}: the tensor [${tensor.rows},${tensor.columns}] ${reason}.`);
  }

  free(tensor: Tensor): void {
    this.#count(-this.use("free", tensor).values.byteLength);
    this.#tensors.delete(tensor);
    this.#freed.add(tensor);
  }

  makeWeight(spec: WeightSpec, values?: ArrayLike<number>): ReferenceWeight {
    this.#expectOpen("weight");
    checkWeightSpec(spec, values);
    const { name, rows, columns, storage, trainable } = spec;
    const allocate = () => this.#allocate(rows * columns);
    const master = allocate();
    // Frozen weights are kept once, as products read them.
    const product = { rows, columns, values: trainable && isRounded(storage, rows) ? allocate() : master };
    const training = trainable ? { gradient: allocate(), moment1: allocate(), moment2: allocate() } : null;
    const made: ReferenceWeight = { name, rows, columns, storage, trainable, values: master, product, training };
    this.#weights.add(made);
    this.#count(weightBytes(made));
    if (values) setValue(made, values);
    return made;
  }

  /** The weight behind a handle; throws when it was freed or is of another backend. */
  useWeight(operation: string, weight: Weight): ReferenceWeight {
    this.#expectOpen(operation);
    if (this.#weights.has(weight)) return weight as ReferenceWeight;
    const reason = this.#freed.has(weight) ? "was freed" : "is not of this backend";
    throw new Error(`${operation}: the weight "${weight.name}" ${reason}.`);
  }

  writeWeight(weight: Weight, values: ArrayLike<number>, part: WeightPart): void {
    const own = this.useWeight("writeWeight", weight);
    checkWeightPart("writeWeight", weight, part);
    checkValues("writeWeight", values, weight.rows, weight.columns);
    if (part === "value") setValue(own, values);
    else trainingOf("writeWeight", own)[part].set(values);
  }

  readWeight(weight: Weight, part: WeightPart): Values {
    const own = this.useWeight("readWeight", weight);
    checkWeightPart("readWeight", weight, part);
    return (part === "value" ? own.values : trainingOf("readWeight", own)[part]).slice();
  }

  freeWeight(weight: Weight): void {
    this.#count(-weightBytes(this.useWeight("freeWeight", weight)));
    this.#weights.delete(weight);
    this.#freed.add(weight);
  }

  summary(): MemoryUse {
    return {
      bytes: this.#bytes,
      peakBytes: this.#peakBytes,
      tensors: this.#tensors.size,
      weights: this.#weights.size,
    };
  }

  close(): void {
    this.#closed = true;
    this.#tensors.clear();
    this.#weights.clear();
    this.#bytes = 0;
  }

  #allocate(count: number): Values {
    return this.precision === "float64" ? new Float64Array(count) : new Float32Array(count);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
  }

  #expectOpen(operation: string): void {
    if (this.#closed) throw new Error(`${operation}: the reference backend was closed.`);
  }
}

/** Gradient and moments; throws for a frozen weight. */
export function trainingOf(operation: string, weight: ReferenceWeight): TrainingParts {
  checkTrainable(operation, weight);
  return weight.training!;
}

/** Takes a new value and renews what products read. */
export function setValue(weight: ReferenceWeight, values: ArrayLike<number>): void {
  if (values !== weight.values) weight.values.set(values);
  const { storage, rows, columns } = weight;
  if (!isRounded(storage, rows)) return;
  const product = weight.product.values;
  if (storage === "int8") product.set(roundToInt8(weight.values, rows, columns));
  else if (storage === "nf4") product.set(roundToNf4(weight.values, rows, columns));
  else for (let i = 0; i < product.length; i++) product[i] = roundToBfloat16(weight.values[i]);
}

/** Matrices are kept in their storage; vectors (norms, biases) always in float32. */
function isRounded(storage: WeightStorage, rows: number): boolean {
  return storage !== "float32" && rows > 1;
}

function weightBytes({ values, product, training }: ReferenceWeight): number {
  const own = values.byteLength + (product.values === values ? 0 : product.values.byteLength);
  return own + (training ? 3 * values.byteLength : 0);
}
