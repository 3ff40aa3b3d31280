import type { Values } from "../backend.ts";
import { ACTIVATION_CODES, BYTE_GROUP, type ByteCodes, toByteCodes } from "../quantize-bytes.ts";
import type { Matrix } from "./products.ts";

/**
 * y[T,O] = scale · x[T,I] · wᵀ + bias[O] + residual[T,O], with x quantised: whole sums of the codes of a group times the float32 product of
 * both scales, added in float64.
 */
export function multiplyBytes(
  x: Matrix,
  w: ByteCodes,
  terms: { scale: number; bias: Values | null; residual: Values | null },
  y: Matrix,
): void {
  const { scale, bias, residual } = terms;
  const { columns, groups, rows: outputs } = w;
  const own = toByteCodes(x.data, x.rows, columns, ACTIVATION_CODES);
  for (let t = 0; t < x.rows; t++) {
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let group = 0; group < groups; group++) {
        let whole = 0;
        const end = Math.min((group + 1) * BYTE_GROUP, columns);
        for (let i = group * BYTE_GROUP; i < end; i++) whole += own.codes[t * columns + i] * w.codes[o * columns + i];
        sum += whole * Math.fround(own.scales[t * groups + group] * w.scales[o * groups + group]);
      }
      sum *= scale;
      if (bias) sum += bias[o];
      if (residual) sum += residual[t * outputs + o];
      y.data[t * outputs + o] = sum;
    }
  }
}
