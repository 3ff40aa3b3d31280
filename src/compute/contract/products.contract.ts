import { expect, it } from "vitest";
import { type Backend, roundToBfloat16 } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";
import type { Twin } from "./comparison.contract.ts";

// [T, I, O]: single rows and columns, exact blocks of 32, one more and one less.
const shapes = [
  [1, 5, 3],
  [33, 5, 7],
  [5, 33, 1],
  [32, 64, 96],
  [31, 32, 33],
  [70, 100, 45],
  [2, 31, 257],
  [130, 1, 65],
] as const;

// [T, I, heads, D, pairs]: heads of one, two, four and five blocks of columns, and of less; all pairs, half of them or few rotate.
const rotated = [
  [1, 40, 2, 64, 32],
  [16, 40, 2, 64, 32],
  [70, 100, 2, 128, 64],
  [45, 33, 2, 160, 32],
  [70, 50, 3, 32, 16],
  [33, 50, 5, 20, 7],
] as const;

/** One storage for each way to rotate, where both would take the reference seconds. */
const storagesOf = { halves: ["int8"], interleaved: ["bfloat16"] } as const;

// Two passes over the depth; in the last one the rows fill more blocks than a core's cache holds, too.
const rotatedInPasses = [
  [17, 1600, 3, 64, 32],
  [130, 65, 3, 128, 32],
  [330, 1700, 2, 128, 64],
] as const;

// More than 1,024 tokens are more than one pass; many columns are many items.
const long = [
  [1030, 40, 33],
  [2100, 33, 300],
  [1100, 300, 70],
] as const;

const thin = [
  [100, 8, 70],
  [45, 17, 130],
] as const;

export function productContract({ compare, open, hasBlocks }: Contract): void {
  it.each(shapes)("matmul [%i,%i] to %i columns", async (rows, inputs, outputs) => {
    const c = compare(rows + inputs);
    for (const trainable of [true, false]) {
      const w = c.weight(outputs, inputs, { trainable });
      const bias = c.weight(1, outputs, { trainable });
      for (const wide of [false, true]) {
        const x = await c.tensor(rows, inputs, { wide });
        const residual = await c.tensor(rows, outputs, { wide: !wide });
        await c.same("plain", ({ backend, of }) => backend.matmul(of(x), of(w)));
        await c.same("scale, bias and residual", ({ backend, of }) =>
          backend.matmul(of(x), of(w), { bias: of(bias), residual: of(residual), scale: -0.375, wide }),
        );
        const y = await c.same("residual", ({ backend, of }) =>
          backend.matmul(of(x), of(w), { residual: of(residual), wide: !wide }),
        );
        await c.same("residual of the result's own width", ({ backend, of }) =>
          backend.matmul(of(x), of(w), { residual: of(y), bias: of(bias), wide: !wide }),
        );
      }
    }
    await c.close();
  });

  it.each(shapes)("matmulBackwardInput of [%i,%i] and %i columns", async (rows, inputs, outputs) => {
    const c = compare(rows + outputs);
    for (const trainable of [true, false]) {
      const w = c.weight(outputs, inputs, { trainable });
      for (const wide of [false, true]) {
        const dy = await c.tensor(rows, outputs, { wide });
        const residual = await c.tensor(rows, inputs, { wide: !wide });
        await c.same("plain", ({ backend, of }) => backend.matmulBackwardInput(of(dy), of(w)));
        await c.same("scale and residual", ({ backend, of }) =>
          backend.matmulBackwardInput(of(dy), of(w), { residual: of(residual), scale: 1.5, wide }),
        );
      }
    }
    await c.close();
  });

  it.each(shapes)("sums of products of [%i,%i] and %i columns", async (rows, inputs, outputs) => {
    const c = compare(rows + inputs + outputs);
    for (const wide of [false, true]) {
      const others = [1, 70, inputs, 33];
      const scales = [undefined, 0.5, 2, -1];
      const w = c.weight(outputs, inputs);
      const bias = c.weight(1, outputs);
      const x = await c.tensor(rows, inputs, { wide });
      const residual = await c.tensor(rows, outputs, { wide });
      const xs = await Promise.all(others.map((width, i) => c.tensor(rows, width, { wide: i % 2 === 1 })));
      const ws = others.map((width) => c.weight(outputs, width, { trainable: false }));
      const twins = xs.map((term, i) => ({ x: term, w: ws[i], scale: scales[i] }));
      const plusOf = (of: <T>(twin: Twin<T>) => T, count: number) =>
        twins.slice(0, count).map((term) => ({ x: of(term.x), w: of(term.w), scale: term.scale }));
      for (const count of [1, twins.length]) {
        await c.same(`matmul of ${count + 1} terms`, ({ backend, of }) =>
          backend.matmul(of(x), of(w), { plus: plusOf(of, count), bias: of(bias), residual: of(residual), wide }),
        );
        await c.same(`scaled matmul of ${count + 1} terms`, ({ backend, of }) =>
          backend.matmul(of(x), of(w), { plus: plusOf(of, count), scale: 0.5, wide: !wide }),
        );
      }
      const dy = await c.tensor(rows, outputs, { wide });
      const backs = await Promise.all(others.map((width) => c.tensor(rows, width)));
      const backWeights = others.map((width) => c.weight(width, inputs, { trainable: false }));
      const added = await c.tensor(rows, inputs, { wide: true });
      await c.same("matmulBackwardInput of 5 terms", ({ backend, of }) =>
        backend.matmulBackwardInput(of(dy), of(w), {
          plus: backs.map((back, i) => ({ x: of(back), w: of(backWeights[i]), scale: scales[i] })),
          residual: of(added),
          wide,
        }),
      );
    }
    await c.close();
  });

  it.each(shapes)("swiglu in a product of [%i,%i] to %i columns, and its gradient", async (rows, inputs, outputs) => {
    const c = compare(rows + inputs * outputs);
    for (const storage of ["bfloat16", "float32", "int8"] as const) {
      const w = c.weight(outputs, inputs, { storage, trainable: false });
      const low = c.weight(outputs, 5, { trainable: false });
      const bias = c.weight(1, outputs);
      const x = await c.tensor(rows, inputs);
      const lowX = await c.tensor(rows, 5);
      const gate = await c.tensor(rows, outputs, { spread: 3, wide: storage === "float32" });
      await c.sameAll("up and h", ({ backend, of }) => backend.matmulSwiglu(of(gate), of(x), of(w)));
      await c.sameAll("up and h of a sum", ({ backend, of }) =>
        backend.matmulSwiglu(of(gate), of(x), of(w), {
          bias: of(bias),
          scale: 0.5,
          plus: [{ x: of(lowX), w: of(low), scale: 2 }],
        }),
      );
      const down = c.weight(inputs, outputs, { storage, trainable: false });
      const lowDown = c.weight(5, outputs, { trainable: false });
      const up = await c.tensor(rows, outputs);
      await c.sameAll("gradients of gate and up", ({ backend, of }) =>
        backend.matmulBackwardSwiglu(of(gate), of(up), of(x), of(down)),
      );
      await c.sameAll("gradients through a sum", ({ backend, of }) =>
        backend.matmulBackwardSwiglu(of(gate), of(up), of(x), of(down), {
          scale: -0.5,
          plus: [{ x: of(lowX), w: of(lowDown), scale: 2 }],
        }),
      );
    }
    await c.close();
  });

  it.each([5, 64])(
    "a further product of %i float32 columns is not rounded to the backend's precision",
    async (rank) => {
      const c = compare(rank);
      for (const rows of [3, 70]) {
        const [x, h] = [await c.tensor(rows, 100, { spread: 0 }), await c.tensor(rows, 100)];
        const [w, a, b] = [c.weight(90, 100), c.weight(rank, 100), c.weight(90, rank)];
        const low = await c.same("float32", ({ backend, of }) => backend.matmul(of(h), of(a), { wide: true }));
        await c.same(
          "sum",
          ({ backend, of }) => backend.matmul(of(x), of(w), { plus: [{ x: of(low), w: of(b), scale: 3 }], wide: true }),
          1e-4,
        );
      }
      await c.close();
    },
  );

  it.each([...rotated, ...(hasBlocks ? rotatedInPasses : [])])(
    "matmul [%i,%i] to %i heads of %i columns, %i pairs rotate",
    async (rows, inputs, heads, headWidth, pairs) => {
      const c = compare(rows + inputs + headWidth);
      const columns = heads * headWidth;
      const positions = Int32Array.from({ length: rows }, (_, t) => (t * 31) % 97);
      const frequencies = Float32Array.from({ length: pairs }, (_, i) => 100 ** (-i / pairs));
      for (const layout of ["halves", "interleaved"] as const) {
        const rotary = { heads, headWidth, frequencies, layout, positions };
        for (const storage of rows > 300 ? storagesOf[layout] : (["bfloat16", "int8"] as const)) {
          const w = c.weight(columns, inputs, { storage, trainable: false });
          const [low, bias] = [c.weight(columns, 5), c.weight(1, columns)];
          const [x, extra] = [await c.tensor(rows, inputs), await c.tensor(rows, 5, { wide: true })];
          await c.same("plain", ({ backend, of }) => backend.matmul(of(x), of(w), { rotary }));
          await c.same("with all", ({ backend, of }) =>
            backend.matmul(of(x), of(w), {
              rotary,
              bias: of(bias),
              scale: 0.5,
              wide: layout === "halves" && storage === "int8",
              plus: [{ x: of(extra), w: of(low), scale: 2 }],
            }),
          );
        }
      }
      await c.close();
    },
  );

  it("a sum of sixteen products; no row is another's", async () => {
    const c = compare(7);
    const x = await c.tensor(40, 64);
    const twins = Array.from({ length: 15 }, () => c.weight(96, 64, { trainable: false }));
    const w = c.weight(96, 64);
    await c.same("equal scales", ({ backend, of }) =>
      backend.matmul(of(x), of(w), {
        scale: 0.25,
        plus: twins.map((twin) => ({ x: of(x), w: of(twin), scale: 0.25 })),
      }),
    );
    await c.close();
  });

  it.each([...shapes, ...(hasBlocks ? long : [])])(
    "matmulBackwardWeight of [%i,%i] and %i columns",
    async (rows, inputs, outputs) => {
      const c = compare(inputs + outputs);
      const w = c.weight(outputs, inputs);
      for (const wide of [false, true]) {
        const x = await c.tensor(rows, inputs, { wide });
        const dy = await c.tensor(rows, outputs, { wide: !wide });
        c.both(({ backend, of }) => backend.matmulBackwardWeight(of(dy), of(x), of(w)));
        await c.sameWeight("first", w, "gradient");
        c.both(({ backend, of }) => backend.matmulBackwardWeight(of(dy), of(x), of(w), -0.75));
        await c.sameWeight("added to", w, "gradient");
      }
      c.both(({ backend, of }) => backend.zeroGradients([of(w)]));
      await c.sameWeight("zeroed", w, "gradient", 0);
      await c.close();
    },
  );

  it.each([...shapes, ...thin, ...(hasBlocks ? ([[1100, 16, 96]] as const) : [])])(
    "matmulBackward of [%i,%i] and %i columns",
    async (rows, inputs, outputs) => {
      const c = compare(rows + outputs);
      const w = c.weight(outputs, inputs);
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, inputs, { wide });
        const dy = await c.tensor(rows, outputs, { wide: !wide });
        await c.same("dx", ({ backend, of }) => backend.matmulBackward(of(dy), of(x), of(w), 1.5));
        await c.sameWeight("gradient", w, "gradient");
      }
      await c.close();
    },
  );

  it("biasBackward", async () => {
    const c = compare(11);
    for (const [rows, columns] of [
      [1, 5],
      [33, 1],
      [70, 45],
    ]) {
      const b = c.weight(1, columns);
      const dy = await c.tensor(rows, columns, { wide: rows > 50 });
      for (const name of ["first", "added to"]) {
        c.both(({ backend, of }) => backend.biasBackward(of(dy), of(b)));
        await c.sameWeight(name, b, "gradient");
      }
    }
    await c.close();
  });

  it("embed and embedBackward, ids repeated", async () => {
    const c = compare(12);
    for (const [rows, columns] of [
      [7, 5],
      [40, 33],
      [100, 64],
    ]) {
      for (const trainable of [true, false]) {
        const table = c.weight(rows, columns, { trainable });
        const ids = Int32Array.from({ length: 37 }, (_, t) => (t * t) % rows);
        await c.same("embed", ({ backend, of }) => backend.embed(of(table), ids), 1e-6);
        if (!trainable) continue;
        for (const wide of [true, false]) {
          const dy = await c.tensor(ids.length, columns, { wide });
          c.both(({ backend, of }) => backend.embedBackward(of(table), ids, of(dy)));
          await c.sameWeight("embedBackward", table, "gradient", 1e-5);
        }
      }
    }
    await c.close();
  });

  it("a table that is a head too gets both gradients", async () => {
    const c = compare(13);
    const table = c.weight(37, 9);
    const ids = Int32Array.of(3, 36, 3, 0);
    const dLogits = await c.tensor(4, 37);
    const x = await c.same("embed", ({ backend, of }) => backend.embed(of(table), ids), 1e-6);
    const dx = await c.same("dx", ({ backend, of }) => backend.matmulBackwardInput(of(dLogits), of(table)));
    c.both(({ backend, of }) => {
      backend.matmulBackwardWeight(of(dLogits), of(x), of(table));
      backend.embedBackward(of(table), ids, of(dx));
    });
    await c.sameWeight("both", table, "gradient");
    await c.close();
  });

  it("weights and tensors come back as they were given", async () => {
    const backend = open();
    const keep = (value: number) => (backend.precision === "bfloat16" ? roundToBfloat16(value) : Math.fround(value));
    const numbers = (count: number) =>
      Float32Array.from({ length: count }, (_, i) => Math.sin(i * i + 1) * 10 ** ((i % 7) - 3));
    for (const [rows, columns] of [
      [1, 5],
      [33, 1],
      [45, 70],
    ]) {
      const values = numbers(rows * columns);
      const wide = backend.tensor(values, rows, columns, { wide: true });
      expect(Float32Array.from(await backend.read(wide))).toEqual(values);
      const narrow = backend.tensor(values, rows, columns);
      expect(Float32Array.from(await backend.read(narrow))).toEqual(values.map(keep));
      await expectWeightRoundTrip(backend, values, rows, columns);
    }
    expect(Array.from(await backend.read(backend.zeros(3, 35)))).toEqual(new Array(3 * 35).fill(0));
    await backend.close();
  });
}

async function expectWeightRoundTrip(backend: Backend, values: Float32Array, rows: number, columns: number) {
  for (const storage of ["float32", "bfloat16"] as const) {
    const name = `${storage} [${rows},${columns}]`;
    const trained = backend.weight({ name, rows, columns, storage, trainable: true }, values);
    expect(Float32Array.from(await backend.readWeight(trained)), name).toEqual(values);
    for (const part of ["gradient", "moment1", "moment2"] as const) {
      expect(Array.from(await backend.readWeight(trained, part)), `${name} ${part}`).toEqual(
        new Array(values.length).fill(0),
      );
      backend.writeWeight(trained, values, part);
      expect(Float32Array.from(await backend.readWeight(trained, part)), `${name} ${part}`).toEqual(values);
    }
    // Vectors stay float32.
    const isRounded = rows > 1 && storage === "bfloat16";
    const expected = isRounded ? values.map(roundToBfloat16) : values;
    const frozen = backend.weight({ name, rows, columns, storage, trainable: false });
    expect(Array.from(await backend.readWeight(frozen)), `${name} without values`).toEqual(
      new Array(values.length).fill(0),
    );
    backend.writeWeight(frozen, values);
    expect(Float32Array.from(await backend.readWeight(frozen)), `${name} frozen`).toEqual(expected);
  }
}
