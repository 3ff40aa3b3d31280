import type { Backend, Tensor, Weight } from "../compute/backend.ts";

/** scale · b·a, added to a weight w[O,I]: a[R,I] and b[O,R]. */
interface Added {
  a: Weight;
  b: Weight;
  scale: number;
}

/**
 * Trained lengths of the rows of an adapted weight (DoRA, Liu et al. 2024): row o of w + scale · b·a is divided by its own length and
 * multiplied by element o. As in the paper (4.3) and in PEFT, gradients take the divisor as a constant.
 */
export interface Magnitude {
  weight: Weight; // [1,O]
  /** The divisors [1,O], and the revisions of the weights that they were computed from; null before they are needed. */
  norms: { tensor: Tensor; revisions: string } | null;
}

/** The length of each row of w + scale · b·a, as a wide [1,O]. The caller frees it. */
export function adaptedRowNorms(backend: Backend, w: Weight, { a, b, scale }: Added): Tensor {
  const rows = Int32Array.from({ length: w.rows }, (_, row) => row);
  const base = backend.embed(w, rows);
  const low = backend.embed(b, rows);
  const sum = backend.matmulBackwardInput(low, a, { scale, residual: base, wide: true });
  const norms = backend.rowNorms(sum);
  for (const tensor of [base, low, sum]) backend.free(tensor);
  return norms;
}

/** The divisors of a magnitude; computed again only when one of the weights has changed. They belong to the magnitude. */
export function divisorsOf(backend: Backend, w: Weight, magnitude: Magnitude, added: Added): Tensor {
  const revisions = [w, added.a, added.b].map(({ revision }) => revision).join();
  if (magnitude.norms?.revisions !== revisions) {
    freeDivisors(backend, magnitude);
    magnitude.norms = { tensor: adaptedRowNorms(backend, w, added), revisions };
  }
  return magnitude.norms.tensor;
}

export function freeDivisors(backend: Backend, magnitude: Magnitude): void {
  if (magnitude.norms) backend.free(magnitude.norms.tensor);
  magnitude.norms = null;
}
