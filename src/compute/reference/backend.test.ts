import { describe, expect, it } from "vitest";
import type { Tensor, WeightSpec } from "../backend.ts";
import { backendContract } from "../contract/backend.contract.ts";
import { openReference } from "./backend.ts";

describe("reference, float32", () => {
  backendContract(() => openReference(), { tolerance: 1e-5, lossTolerance: 1e-4, hasBlocks: false });
});

describe("reference", () => {
  it("counts its bytes exactly", () => {
    const backend = openReference();
    const x = backend.zeros(3, 5);
    backend.weight({ name: "frozen", rows: 2, columns: 3, storage: "bfloat16", trainable: false });
    backend.weight({ name: "trained", rows: 2, columns: 3, storage: "bfloat16", trainable: true });
    const expected = 4 * (15 + 6 + 5 * 6);
    expect(backend.memory()).toEqual({ bytes: expected, peakBytes: expected, tensors: 1, weights: 2 });
    backend.free(x);
    expect(backend.memory()).toEqual({ bytes: expected - 60, peakBytes: expected, tensors: 0, weights: 2 });
  });

  it("computes in float64 when asked", async () => {
    const backend = openReference({ precision: "float64" });
    const x = backend.tensor([1, 1e-12], 1, 2);
    const w = backend.weight({ name: "w", rows: 1, columns: 2, storage: "float32", trainable: false }, [1, 1]);
    expect(Array.from(await backend.read(backend.matmul(x, w)))).toEqual([1 + 1e-12]);
  });

  it("rounds what products read to the storage of a weight", async () => {
    const backend = openReference();
    const spec = { name: "w", rows: 2, columns: 1, storage: "bfloat16", trainable: true } as const;
    const weight = backend.weight(spec, [1.001, 3.01]);
    const y = await backend.read(backend.matmul(backend.tensor([1], 1, 1), weight));
    expect(Array.from(y)).toEqual([1, 3.015625]);
  });
});

/** A float64 reference with short ways to make operands from rows. */
function exact() {
  const backend = openReference({ precision: "float64" });
  const x = (...rows: number[][]) => backend.tensor(rows.flat(), rows.length, rows[0].length);
  const w = (...rows: number[][]) => {
    const spec: WeightSpec = {
      name: "w",
      rows: rows.length,
      columns: rows[0].length,
      storage: "float32",
      trainable: true,
    };
    return backend.weight(spec, rows.flat());
  };
  const expectValues = async (tensor: Tensor, ...rows: number[][]) => {
    expect([tensor.rows, tensor.columns]).toEqual([rows.length, rows[0].length]);
    const got = await backend.read(tensor);
    rows.flat().forEach((value, i) => {
      expect(got[i], `element ${i}`).toBeCloseTo(value, 12);
    });
  };
  return { backend, x, w, expectValues };
}

// The contract suite compares with the reference, so the reference itself is compared with numbers worked out by hand.
describe("reference, by hand", () => {
  it("matmul, its gradients, bias", async () => {
    const { backend, x, w, expectValues } = exact();
    const weight = w([1, 2], [3, 4], [5, 6]);
    const [bias, residual] = [w([10, 20, 30]), x([1, 1, 2])];
    await expectValues(backend.matmul(x([1, -1]), weight, { scale: 2, bias, residual }), [9, 19, 30]);
    const dy = x([1, 0, -1], [0, 1, 0]);
    await expectValues(
      backend.matmulBackwardInput(dy, weight, { scale: 3, residual: x([0, 1], [0, 0]) }),
      [-12, -11],
      [9, 12],
    );
    backend.matmulBackwardWeight(dy, x([7, 8], [9, 10]), weight, 2);
    backend.biasBackward(dy, bias);
    expect(Array.from(await backend.readWeight(weight, "gradient"))).toEqual([14, 16, 18, 20, -14, -16]);
    expect(Array.from(await backend.readWeight(bias, "gradient"))).toEqual([1, 1, -1]);
  });

  it("rmsNorm", async () => {
    const { backend, x, w, expectValues } = exact();
    const root = Math.sqrt((9 + 16) / 2 + 0.5);
    await expectValues(backend.rmsNorm(x([3, 4]), w([2, -1]), 0.5), [6 / root, -4 / root]);
    const heads = x([3, 4, 4, -3], [0, 0, 4, 3]);
    const wanted = [
      [6, -4, 8, 3],
      [0, 0, 8, -3],
    ].map((row) => row.map((value) => value / root));
    await expectValues(backend.rmsNorm(heads, w([2, -1]), 0.5), ...wanted);
  });

  it("rotary rotates pairs counter-clockwise", async () => {
    const { backend, x, expectValues } = exact();
    const quarter = Float32Array.of(Math.PI / 2, 0);
    const angle = quarter[0] * 3;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const spec = { heads: 1, headWidth: 5, frequencies: quarter };
    const input = x([1, 2, 3, 4, 5]);
    const positions = Int32Array.of(3);
    const halves = backend.rotary(input, positions, { ...spec, layout: "halves" });
    await expectValues(halves, [c - 3 * s, 2, s + 3 * c, 4, 5]);
    const interleaved = backend.rotary(input, positions, { ...spec, layout: "interleaved" });
    await expectValues(interleaved, [c - 2 * s, s + 2 * c, 3, 4, 5]);
    await expectValues(backend.rotary(halves, positions, { ...spec, layout: "halves" }, "backward"), [1, 2, 3, 4, 5]);
  });

  it("attention: causal and bidirectional rows, shared heads, a context, ALiBi", async () => {
    const { backend, x, expectValues } = exact();
    // One key head for two query heads of width 1; the second head has twice the score and a slope.
    const spec = { heads: 2, keyValueHeads: 1, headWidth: 1, scale: 0.5, slopes: Float32Array.of(0, 0.25) };
    const q = x([9, 9], [1, 2], [1, 2]);
    const keys = x([2], [9], [4], [6]);
    const values = x([10], [1000], [20], [30]);
    const context = [{ start: 0, length: 1, position: 0 }];
    const segments = [{ start: 1, length: 2, keyStart: 2, position: 5, context }];
    const mix = (scores: number[], of: number[]) => {
      const chances = scores.map(Math.exp);
      const total = chances.reduce((sum, chance) => sum + chance, 0);
      return { value: chances.reduce((sum, chance, i) => sum + chance * of[i], 0) / total, log: Math.log(total) };
    };
    const first = [mix([1, 2], [10, 20]), mix([2 - 0.25 * 5, 4], [10, 20])];
    const second = [mix([1, 2, 3], [10, 20, 30]), mix([2 - 0.25 * 6, 4 - 0.25, 6], [10, 20, 30])];
    const { output, logSumExp } = backend.attention(q, keys, values, segments, spec);
    await expectValues(output, [0, 0], [first[0].value, first[1].value], [second[0].value, second[1].value]);
    await expectValues(logSumExp, [0, 0], [first[0].log, first[1].log], [second[0].log, second[1].log]);
    // In both directions, the first row sees the second one too; the bias falls with the distance on either side.
    const ahead = [mix([1, 2, 3], [10, 20, 30]), mix([2 - 0.25 * 5, 4, 6 - 0.25], [10, 20, 30])];
    const both = backend.attention(q, keys, values, [{ ...segments[0], bidirectional: 2 }], spec);
    await expectValues(both.output, [0, 0], [ahead[0].value, ahead[1].value], [second[0].value, second[1].value]);
  });

  it("swiglu, add, dropout, rows", async () => {
    const { backend, x, w, expectValues } = exact();
    await expectValues(backend.swiglu(x([2, -1]), x([3, 5])), [6 / (1 + Math.exp(-2)), -5 / (1 + Math.E)]);
    await expectValues(backend.add(x([1, 2]), x([10, 20]), { scale: -0.5 }), [-4, -8]);
    await expectValues(backend.dropout(x([1, 2]), 0, 3), [1, 2]);
    await expectValues(backend.gatherRows(x([1], [2], [3]), Int32Array.of(2, 0)), [3], [1]);
    await expectValues(backend.gatherRowsBackward(x([1], [2], [4]), Int32Array.of(2, 0, 2), 4), [2], [0], [5], [0]);
    const table = w([1, 2], [3, 4]);
    await expectValues(backend.embed(table, Int32Array.of(1, 1, 0)), [3, 4], [3, 4], [1, 2]);
    backend.embedBackward(table, Int32Array.of(1, 1), x([1, 2], [10, 20]));
    expect(Array.from(await backend.readWeight(table, "gradient"))).toEqual([0, 0, 11, 22]);
  });

  it("losses", async () => {
    const { backend, x, expectValues } = exact();
    const logits = x([Math.log(1), Math.log(3)], [Math.log(2), Math.log(6)]);
    const { loss, dLogits } = backend.crossEntropy(logits, Int32Array.of(0, 1), Float32Array.of(1, 0.5), 0.2);
    const [quarter, rest] = [-Math.log(0.25), -Math.log(0.75)];
    await expectValues(loss, [0.9 * quarter + 0.1 * rest + 0.5 * (0.1 * quarter + 0.9 * rest)]);
    await expectValues(dLogits, [0.25 - 0.9, 0.75 - 0.1], [0.5 * (0.25 - 0.1), 0.5 * (0.75 - 0.9)]);
    const chances = backend.logProbabilities(logits, Int32Array.of(1, 0, 0), Int32Array.of(0, 0, 1));
    await expectValues(chances, [Math.log(0.25), Math.log(0.25), Math.log(0.75)]);
  });
});
