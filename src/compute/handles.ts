import type { MemoryUse, Tensor, Weight, WeightSpec } from "./backend.ts";
import { ByteCount } from "./byte-count.ts";
import type { Kernels, Operand, WeightOperand } from "./kernels.ts";

type Keeper<D, E> = Pick<Kernels<D, E>, "name" | "tensorBytes" | "weightBytes" | "bytes" | "free" | "freeWeight">;

/** The tensors and weights of a backend that are alive, and their bytes. */
export class Handles<D, E> {
  readonly #kernels: Keeper<D, E>;
  readonly #bytes: ByteCount;
  readonly #tensors = new Set<Tensor>();
  readonly #weights = new Set<Weight>();
  readonly #freed = new WeakSet<Tensor | Weight>();
  #closed = false;

  constructor(kernels: Keeper<D, E>) {
    this.#kernels = kernels;
    this.#bytes = kernels.bytes ?? new ByteCount();
  }

  add(data: D, rows: number, columns: number, wide: boolean): Operand<D> {
    const made = { rows, columns, wide, data };
    this.#tensors.add(made);
    this.#bytes.add(this.#kernels.tensorBytes(made));
    return made;
  }

  /** The tensor as its kernels know it; throws when it was freed or belongs to another backend, or when the backend is closed. */
  tensor(operation: string, tensor: Tensor): Operand<D> {
    this.expectOpen(operation);
    if (this.#tensors.has(tensor)) return tensor as Operand<D>;
    throw new Error(`${operation}: the tensor [${tensor.rows},${tensor.columns}] ${this.#reason(tensor)}.`);
  }

  free(tensor: Operand<D>): void {
    this.#tensors.delete(tensor);
    this.#freed.add(tensor);
    this.#bytes.add(-this.#kernels.tensorBytes(tensor));
    this.#kernels.free?.(tensor);
  }

  addWeight({ name, rows, columns, storage, trainable }: WeightSpec, data: E): WeightOperand<E> {
    const made = { name, rows, columns, storage, trainable, revision: 0, data };
    this.#weights.add(made);
    this.#bytes.add(this.#kernels.weightBytes(made));
    return made;
  }

  /** The weight as its kernels know it; throws as `tensor` does. */
  weight(operation: string, weight: Weight): WeightOperand<E> {
    this.expectOpen(operation);
    if (this.#weights.has(weight)) return weight as WeightOperand<E>;
    throw new Error(`${operation}: the weight "${weight.name}" ${this.#reason(weight)}.`);
  }

  /** Counts a change of the weight's value. */
  changed(weight: WeightOperand<E>): void {
    (weight as { revision: number }).revision++;
  }

  freeWeight(weight: WeightOperand<E>): void {
    this.#weights.delete(weight);
    this.#freed.add(weight);
    this.#bytes.add(-this.#kernels.weightBytes(weight));
    this.#kernels.freeWeight?.(weight);
  }

  memory(): MemoryUse {
    return { ...this.#bytes.summary(), tensors: this.#tensors.size, weights: this.#weights.size };
  }

  expectOpen(operation: string): void {
    if (this.#closed) throw new Error(`${operation}: the ${this.#kernels.name} backend was closed.`);
  }

  /** False when it was closed before. */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    this.#tensors.clear();
    this.#weights.clear();
    this.#bytes.clear();
    return true;
  }

  #reason(handle: Tensor | Weight): string {
    return this.#freed.has(handle) ? "was freed" : "is not of this backend";
  }
}
