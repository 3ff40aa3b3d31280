import type { Backend } from "./backend.ts";
import { expectShape, type Shaped, shapeOf } from "./check.ts";
import type { Handles } from "./handles.ts";
import type { Kernels, WeightOperand } from "./kernels.ts";

export type ColumnOperations = Pick<
  Backend,
  "scaleColumns" | "scaleColumnsBackward" | "rowNorms" | "tanh" | "tanhBackward"
>;

/** The operations on columns, the lengths of rows, and tanh; a part of the shell, with its argument checks. */
export function columnOperations<D, E>(kernels: Kernels<D, E>, handles: Handles<D, E>): ColumnOperations {
  const checkVectors = (operation: string, x: Shaped, g: Shaped, divisors: Shaped & { wide: boolean }) => {
    expectShape(operation, "g", g, 1, x.columns, `x ${shapeOf(x)}`);
    expectShape(operation, "divisors", divisors, 1, x.columns, `x ${shapeOf(x)}`);
    if (!divisors.wide) throw new Error(`${operation}: divisors are narrow, expected wide ones.`);
  };
  return {
    scaleColumns(x, g, divisors, bias = null) {
      const [input, own] = [handles.tensor("scaleColumns", x), handles.weight("scaleColumns", g)];
      const scales = handles.tensor("scaleColumns", divisors);
      const added: WeightOperand<E> | null = bias && handles.weight("scaleColumns", bias);
      checkVectors("scaleColumns", x, g, divisors);
      if (bias) expectShape("scaleColumns", "bias", bias, 1, x.columns, `x ${shapeOf(x)}`);
      return handles.add(kernels.scaleColumns(input, own, scales, added), x.rows, x.columns, false);
    },
    scaleColumnsBackward(x, g, divisors, dy) {
      const operation = "scaleColumnsBackward";
      const [input, own] = [handles.tensor(operation, x), handles.weight(operation, g)];
      const [scales, gradient] = [handles.tensor(operation, divisors), handles.tensor(operation, dy)];
      checkVectors(operation, x, g, divisors);
      expectShape(operation, "dy", dy, x.rows, x.columns, "as x");
      const dx = kernels.scaleColumnsBackward(input, own, scales, gradient);
      return handles.add(dx, x.rows, x.columns, false);
    },
    rowNorms(x) {
      return handles.add(kernels.rowNorms(handles.tensor("rowNorms", x)), 1, x.rows, true);
    },
    tanh(x) {
      return handles.add(kernels.tanh(handles.tensor("tanh", x)), x.rows, x.columns, false);
    },
    tanhBackward(y, dy) {
      const [value, gradient] = [handles.tensor("tanhBackward", y), handles.tensor("tanhBackward", dy)];
      expectShape("tanhBackward", "dy", dy, y.rows, y.columns, "as y");
      return handles.add(kernels.tanhBackward(value, gradient), y.rows, y.columns, false);
    },
  };
}
