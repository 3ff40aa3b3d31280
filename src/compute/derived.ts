import type { Handles } from "./handles.ts";
import type { Added, BasicKernels, FusedKernels, Kernels, Operand, Term, WeightOperand } from "./kernels.ts";
import { keyPositions, queryPositions } from "./segments.ts";

type Hold<D> = (...made: Parameters<Handles<D, unknown>["add"]>) => Operand<D>;

/**
 * The kernels with every fused one: those they supply, and the others derived from basic ones. Intermediate sums are wide, so that they are
 * not rounded to the precision of activations. `rotary` and `attentionBackward` have only narrow results; what is derived from them is
 * rounded once more.
 */
export function withDerivedKernels<D, E>(
  kernels: Kernels<D, E>,
  handles: Pick<Handles<D, E>, "add" | "free">,
): Kernels<D, E> & FusedKernels<D, E> {
  /** The result of `body`; afterwards the tensors that it held are freed. */
  const holding = <R>(body: (hold: Hold<D>) => R): R => {
    const held: Operand<D>[] = [];
    try {
      return body((...made) => {
        const x = handles.add(...made);
        held.push(x);
        return x;
      });
    } finally {
      for (const x of held) handles.free(x);
    }
  };

  /** Each product is the residual of the next one; the first term, with the bias, comes last. */
  const chained =
    (product: BasicKernels<D, E>["matmul"], columnsOf: (w: WeightOperand<E>) => number) =>
    ([first, ...plus]: readonly Term<D, E>[], added: Added<D, E>): D =>
      holding((hold) => {
        let { residual } = added;
        for (const term of plus) {
          const sum = product(term, { bias: null, residual, wide: true });
          residual = hold(sum, term.x.rows, columnsOf(term.w), true);
        }
        return product(first, { ...added, residual });
      });

  const derived: FusedKernels<D, E> = {
    matmulSum: chained(kernels.matmul, (w) => w.rows),
    matmulBackwardSum: chained(kernels.matmulBackwardInput, (w) => w.columns),
    matmulRotary: (terms, added, rotary) =>
      holding((hold) => {
        const [{ x, w }] = terms;
        const before = hold(all.matmulSum(terms, { ...added, wide: true }), x.rows, w.rows, true);
        const rotated = kernels.rotary(before, rotary.positions, rotary, "forward");
        if (!added.wide) return rotated;
        const zeros = hold(kernels.tensor(null, x.rows, w.rows, true), x.rows, w.rows, true);
        return kernels.add(hold(rotated, x.rows, w.rows, false), zeros, 1, true);
      }),
    matmulSwiglu: (gate, terms, bias) => {
      const up = all.matmulSum(terms, { bias, residual: null, wide: false });
      const [{ x, w }] = terms;
      return { up, h: kernels.swiglu(gate, { rows: x.rows, columns: w.rows, wide: false, data: up }) };
    },
    matmulBackwardSwiglu: (gate, up, terms) =>
      holding((hold) => {
        const sum = all.matmulBackwardSum(terms, { bias: null, residual: null, wide: true });
        return kernels.swigluBackward(gate, up, hold(sum, gate.rows, gate.columns, true));
      }),
    matmulBackward: (dy, x, w, scale) => {
      kernels.matmulBackwardWeight(dy, x, w, scale);
      return kernels.matmulBackwardInput({ x: dy, w, scale }, { bias: null, residual: null, wide: true });
    },
    attentionBackwardRotary: (forward, dOutput, segments, spec, rotation) =>
      holding((hold) => {
        const { q, k } = forward;
        const { dq, dk, dv } = kernels.attentionBackward(forward, dOutput, segments, spec);
        const back = (gradient: D, like: Operand<D>, positions: Int32Array, heads: number): D => {
          const rotated = hold(gradient, like.rows, like.columns, false);
          return kernels.rotary(rotated, positions, { ...rotation, heads, headWidth: spec.headWidth }, "backward");
        };
        return {
          dq: back(dq, q, queryPositions(segments, q.rows), spec.heads),
          dk: back(dk, k, keyPositions(segments, k.rows), spec.keyValueHeads),
          dv,
        };
      }),
  };
  const all = { ...derived, ...kernels };
  return all;
}
