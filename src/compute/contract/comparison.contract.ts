import { expect } from "vitest";
import { createRandom } from "../../base/random.ts";
import {
  type Backend,
  roundToBfloat16,
  type Tensor,
  type Values,
  type Weight,
  type WeightPart,
  type WeightStorage,
} from "../backend.ts";
import { openReference } from "../reference/backend.ts";

// Runs an operation on a backend and, with the same inputs, on the float64 reference, and compares the results.

/** The same tensor or weight on both sides. */
export interface Twin<T> {
  subject: T;
  judge: T;
}

export interface Side {
  backend: Backend;
  of<T>(twin: Twin<T>): T;
}

export interface TensorOptions {
  wide?: boolean;
  spread?: number;
  offset?: number;
}

export interface Comparison {
  subject: Backend;
  /** Random values; the judge gets them as the subject rounded them. */
  tensor(rows: number, columns: number, options?: TensorOptions): Promise<Twin<Tensor>>;
  weight(
    rows: number,
    columns: number,
    options?: { trainable?: boolean; storage?: WeightStorage; spread?: number; offset?: number },
  ): Twin<Weight>;
  /** Compares one result, and products over its rows and over its columns, which show wrong padding. Returns it for further operations. */
  same(what: string, run: (side: Side) => Tensor, tolerance?: number): Promise<Twin<Tensor>>;
  sameAll<K extends string>(
    what: string,
    run: (side: Side) => Record<K, Tensor>,
    tolerance?: number,
  ): Promise<Record<K, Twin<Tensor>>>;
  sameWeight(what: string, weight: Twin<Weight>, part: WeightPart, tolerance?: number): Promise<void>;
  /** Does the same on both sides. */
  both(run: (side: Side) => void): void;
  close(): Promise<void>;
}

/** The largest error of a row, relative to the largest value of that row (or an eighth of the largest of all), must stay within `tolerance`. */
export function expectClose(what: string, got: Values, expected: Values, columns: number, tolerance: number): void {
  expect(got.length, `${what}: number of values`).toBe(expected.length);
  let largest = 0;
  for (const value of expected) largest = Math.max(largest, Math.abs(value));
  let worst = { error: 0, index: -1, scale: 0 };
  for (let start = 0; start < expected.length; start += columns) {
    let scale = largest / 8;
    for (let c = 0; c < columns; c++) scale = Math.max(scale, Math.abs(expected[start + c]));
    for (let i = start; i < start + columns; i++) {
      const error = Math.abs(got[i] - expected[i]) / (scale || 1);
      if (!(error <= worst.error)) worst = { error, index: i, scale };
    }
  }
  if (!(worst.error <= tolerance)) {
    const [row, column] = [Math.floor(worst.index / columns), worst.index % columns];
    expect.fail(
      `${what}: worst at [${row},${column}] of [${expected.length / columns},${columns}]: got ${got[worst.index]}, expected ` +
        `${expected[worst.index]} (error ${worst.error.toExponential(2)} of scale ${worst.scale}, allowed ${tolerance})`,
    );
  }
}

/** Bit for bit; much quicker than a deep comparison. */
export function expectSameBits(what: string, got: Values, expected: Values): void {
  const bytes = (values: Values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  if (bytes(got).equals(bytes(expected))) return;
  const index = expected.findIndex((value, i) => !Object.is(value, got[i]));
  expect.fail(`${what}[${index}]: ${got[index]}, expected ${expected[index]} (${expected.length} values)`);
}

/** Opens a comparison of `subject`, which it closes in the end. */
export function compare(subject: Backend, tolerance: number, seed: number): Comparison {
  const judge = openReference({ precision: "float64" });
  const random = createRandom(seed);
  const sides: Side[] = [
    { backend: subject, of: (twin) => twin.subject },
    { backend: judge, of: (twin) => twin.judge },
  ];
  const numbers = (count: number, { spread = 1, offset = 0 }: { spread?: number; offset?: number }) =>
    // Numbers that every precision keeps, so that weights are the same on both sides.
    Float32Array.from({ length: count }, () => roundToBfloat16(offset + spread * random.normal()));

  const copyToJudge = async (tensor: Tensor): Promise<Twin<Tensor>> => {
    const { rows, columns, wide } = tensor;
    return { subject: tensor, judge: judge.tensor(await subject.read(tensor), rows, columns, { wide }) };
  };

  const weight: Comparison["weight"] = (rows, columns, options = {}) => {
    const values = numbers(rows * columns, options);
    const { storage = "float32", trainable = true } = options;
    const spec = { name: `w [${rows},${columns}]`, rows, columns, storage, trainable };
    const made = sides.map(({ backend }) => backend.weight(spec, values));
    return { subject: made[0], judge: made[1] };
  };

  const sameWeight: Comparison["sameWeight"] = async (what, twin, part, allowed = tolerance) => {
    const got = await subject.readWeight(twin.subject, part);
    expectClose(`${what} ${part}`, got, await judge.readWeight(twin.judge, part), twin.subject.columns, allowed);
  };

  /** Padding of a result that is not zero shows when the result is contracted with itself. A wide one is rounded on the way. */
  const expectCleanPadding = async (what: string, { subject: x }: Twin<Tensor>) => {
    if (x.rows * x.columns > 40_000 || x.columns > 160) return;
    const twin = await copyToJudge(x);
    const w = weight(3, x.columns, { trainable: false });
    const inner = weight(x.columns, x.columns, { spread: 0 });
    const products = sides.map(({ backend, of }) => backend.matmul(of(twin), of(w), { wide: true }));
    const values = await Promise.all(products.map((product, i) => sides[i].backend.read(product)));
    expectClose(`${what}, then a product over its columns`, values[0], values[1], 3, 3 * tolerance);
    for (const { backend, of } of sides) backend.matmulBackwardWeight(of(twin), of(twin), of(inner));
    await sameWeight(`${what}, then a product over its rows:`, inner, "gradient", 3 * tolerance);
    products.forEach((product, i) => {
      sides[i].backend.free(product);
    });
    for (const { backend, of } of sides) for (const used of [w, inner]) backend.freeWeight(of(used));
    judge.free(twin.judge);
  };

  const sameAll: Comparison["sameAll"] = async (what, run, allowed = tolerance) => {
    const [got, expected] = sides.map(run);
    const twins: Partial<typeof got> & Record<string, unknown> = {};
    for (const name of Object.keys(expected) as (keyof typeof expected)[]) {
      const label = `${what}: ${name}`;
      const [a, b] = [got[name], expected[name]];
      expect([a.rows, a.columns, a.wide], `${label}: rows, columns, wide`).toEqual([b.rows, b.columns, b.wide]);
      expectClose(label, await subject.read(a), await judge.read(b), b.columns, allowed);
      judge.free(b);
      const twin = await copyToJudge(a);
      await expectCleanPadding(label, twin);
      twins[name] = twin as never;
    }
    return twins as never;
  };

  return {
    subject,
    weight,
    sameAll,
    sameWeight,
    async tensor(rows, columns, options = {}) {
      const values = numbers(rows * columns, options);
      return copyToJudge(subject.tensor(values, rows, columns, { wide: options.wide }));
    },
    async same(what, run, allowed) {
      return (await sameAll(what, (side) => ({ y: run(side) }), allowed)).y;
    },
    both(run) {
      for (const side of sides) run(side);
    },
    async close() {
      await subject.close();
      await judge.close();
    },
  };
}
