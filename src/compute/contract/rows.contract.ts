import { expect, it } from "vitest";
import { dropoutKeeps } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";

const shapes = [
  [1, 5],
  [5, 1],
  [33, 45],
  [64, 32],
  [70, 97],
] as const;

// Operations that compute in float32 and store a wide result lose nothing to the precision of activations.
const wideTolerance = 2e-6;

export function rowContract({ compare, open, tolerance }: Contract): void {
  const toleranceOf = (wide: boolean) => (wide ? wideTolerance : tolerance);

  // Not [5,1]: with one column the gradient is what roundings leave of zero.
  it.each(shapes.filter(([, columns]) => columns > 1))("rmsNorm and its gradient [%i,%i]", async (rows, columns) => {
    const c = compare(rows + columns);
    for (const trainable of [true, false]) {
      const g = c.weight(1, columns, { trainable, offset: 1, spread: 0.3 });
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, columns, { wide, spread: 3 });
        const dy = await c.tensor(rows, columns, { wide: !wide });
        const residual = await c.tensor(rows, columns, { wide });
        await c.same("rmsNorm", ({ backend, of }) => backend.rmsNorm(of(x), of(g), 1e-5));
        await c.same("dx", ({ backend, of }) => backend.rmsNormBackward(of(x), of(g), of(dy), 1e-5), 1e-4);
        await c.same(
          "dx + residual",
          ({ backend, of }) => backend.rmsNormBackward(of(x), of(g), of(dy), 0.5, of(residual)),
          1e-5,
        );
        if (trainable) await c.sameWeight("dg of two calls", g, "gradient", 1e-5);
      }
    }
    await c.close();
  });

  it.each([
    [3, 2, 5],
    [40, 4, 8],
    [70, 3, 48],
    [33, 2, 128],
  ])("rmsNorm of %i rows of %i heads of width %i", async (rows, heads, width) => {
    const c = compare(rows + width);
    for (const trainable of [true, false]) {
      const g = c.weight(1, width, { trainable, offset: 1, spread: 0.3 });
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, heads * width, { wide, spread: 3 });
        const dy = await c.tensor(rows, heads * width, { wide: !wide });
        const residual = await c.tensor(rows, heads * width, { wide });
        await c.same("rmsNorm", ({ backend, of }) => backend.rmsNorm(of(x), of(g), 1e-5));
        await c.same("dx", ({ backend, of }) => backend.rmsNormBackward(of(x), of(g), of(dy), 1e-5), 1e-4);
        const sum = ({ backend, of }: Parameters<Parameters<typeof c.same>[1]>[0]) =>
          backend.rmsNormBackward(of(x), of(g), of(dy), 0.5, of(residual));
        await c.same("dx + residual", sum, 1e-5);
        if (trainable) await c.sameWeight("dg of two calls", g, "gradient", 1e-5);
      }
    }
    await c.close();
  });

  it("rmsNorm of zeros is zero", async () => {
    const c = compare(1);
    const x = await c.tensor(3, 7, { spread: 0 });
    const g = c.weight(1, 7, { offset: 1 });
    await c.same("rmsNorm", ({ backend, of }) => backend.rmsNorm(of(x), of(g), 1e-6));
    await c.same("dx", ({ backend, of }) => backend.rmsNormBackward(of(x), of(g), of(x), 1e-6));
    await c.close();
  });

  it.each([
    [3, 4, 2],
    [2, 8, 3],
    [5, 32, 16],
    [1, 48, 12],
    [3, 64, 32],
    [2, 128, 64],
  ])("rotary, %i heads of width %i, %i pairs", async (heads, headWidth, pairs) => {
    const c = compare(heads + headWidth);
    const positions = Int32Array.from({ length: 35 }, (_, t) => (t * 117) % 4000);
    const frequencies = Float32Array.from({ length: pairs }, (_, i) => 10_000 ** (-i / pairs));
    for (const layout of ["interleaved", "halves"] as const) {
      const spec = { heads, headWidth, frequencies, layout };
      for (const wide of [true, false]) {
        const x = await c.tensor(35, heads * headWidth, { wide });
        const y = await c.same("forward", ({ backend, of }) => backend.rotary(of(x), positions, spec));
        await c.same("back", ({ backend, of }) => backend.rotary(of(y), positions, spec, "backward"));
      }
    }
    await c.close();
  });

  it.each(shapes)("swiglu and its gradient [%i,%i]", async (rows, columns) => {
    const c = compare(rows * columns);
    for (const wide of [false, true]) {
      const gate = await c.tensor(rows, columns, { spread: 3, wide });
      const up = await c.tensor(rows, columns, { wide: !wide });
      const dh = await c.tensor(rows, columns, { wide });
      await c.same("h", ({ backend, of }) => backend.swiglu(of(gate), of(up)));
      await c.sameAll("gradient", ({ backend, of }) => backend.swigluBackward(of(gate), of(up), of(dh)));
    }
    await c.close();
  });

  it("swiglu stays finite for large values", async () => {
    const backend = open();
    const gate = backend.tensor([-1000, -100, 0, 100, 1000], 1, 5);
    const ones = backend.tensor([1, 1, 1, 1, 1], 1, 5);
    const close = (value: number) => (Math.abs(value) < 1e-30 ? 0 : Math.round(value));
    expect(Array.from(await backend.read(backend.swiglu(gate, ones)), close)).toEqual([0, 0, 0, 100, 1000]);
    const { dGate } = backend.swigluBackward(gate, ones, ones);
    expect(Array.from(await backend.read(dGate), (value) => Math.round(value * 2) / 2 + 0)).toEqual([0, 0, 0.5, 1, 1]);
    await backend.close();
  });

  it.each(shapes)("add [%i,%i]", async (rows, columns) => {
    const c = compare(rows);
    for (const wide of [true, false]) {
      const a = await c.tensor(rows, columns, { wide });
      const b = await c.tensor(rows, columns, { wide: !wide });
      await c.same("a + b", ({ backend, of }) => backend.add(of(a), of(b)), toleranceOf(wide));
      const scaled = { scale: -0.7, wide: true };
      await c.same("scaled", ({ backend, of }) => backend.add(of(a), of(b), scaled), wideTolerance);
      await c.same("narrow", ({ backend, of }) => backend.add(of(a), of(a), { wide: false }));
    }
    await c.close();
  });

  it.each(shapes)("dropout [%i,%i]", async (rows, columns) => {
    const c = compare(columns);
    for (const wide of [true, false]) {
      const x = await c.tensor(rows, columns, { wide });
      for (const [probability, seed] of [
        [0, 1],
        [0.1, 0xfffffff1],
        [0.5, -7],
        [0.999, 123456],
      ]) {
        const what = `probability ${probability}`;
        const numbers = Int32Array.from({ length: rows }, (_, r) => (r * 0x51ed270b) | 0);
        await c.same(what, ({ backend, of }) => backend.dropout(of(x), probability, seed), toleranceOf(wide));
        await c.same(what, ({ backend, of }) => backend.dropout(of(x), probability, seed, numbers), toleranceOf(wide));
      }
    }
    await c.close();
  });

  it("dropout keeps exactly what dropoutKeeps says", async () => {
    const backend = open();
    const ones = backend.tensor(new Float32Array(70 * 45).fill(1), 70, 45, { wide: true });
    for (const [probability, seed] of [
      [0.3, 99],
      [0.05, 0x80000001],
    ]) {
      const values = await backend.read(backend.dropout(ones, probability, seed));
      const kept = Array.from(values, (value) => value !== 0);
      expect(kept).toEqual(kept.map((_, i) => dropoutKeeps(seed, Math.floor(i / 45), i % 45, probability)));
      expect(kept).toContain(false);
    }
    await backend.close();
  });

  it("dropout with numbers gives a row the same mask wherever it is", async () => {
    const backend = open();
    const ones = (rows: number) => backend.tensor(new Float32Array(rows * 45).fill(1), rows, 45, { wide: true });
    const numbers = Int32Array.from({ length: 70 }, (_, r) => Math.imul(r + 1, 0x9e3779b1));
    const all = await backend.read(backend.dropout(ones(70), 0.3, 7, numbers));
    const order = Int32Array.from({ length: 37 }, (_, i) => (i * 29) % 70);
    const some = await backend.read(
      backend.dropout(
        ones(37),
        0.3,
        7,
        order.map((row) => numbers[row]),
      ),
    );
    expect([...some]).toEqual([...order].flatMap((row) => [...all.subarray(row * 45, (row + 1) * 45)]));
    expect(all[45] !== 0).toBe(dropoutKeeps(7, numbers[1], 0, 0.3));
    await backend.close();
  });

  it("dropout computes its threshold from the float64 probability", async () => {
    const backend = open();
    const one = backend.tensor([1], 1, 1);
    const threshold = Math.floor(0.3 * 2 ** 32);
    // float32 makes 0.3 larger: with a float32 threshold these three would be dropped.
    for (const [hash, isKept] of [
      [threshold - 1, false],
      [threshold, true],
      [threshold + 1, true],
      [threshold + 50, true],
    ] as const) {
      const seed = seedWithHash(hash);
      expect(dropoutKeeps(seed, 0, 0, 0.3), `hash ${hash}`).toBe(isKept);
      const [value] = await backend.read(backend.dropout(one, 0.3, seed));
      expect(value !== 0, `hash ${hash}`).toBe(isKept);
    }
    await backend.close();
  });

  it("gatherRows, its gradient, rows repeated", async () => {
    const c = compare(21);
    for (const [rows, columns] of shapes) {
      const picked = Int32Array.from({ length: 37 }, (_, i) => (i * i) % rows);
      for (const wide of [true, false]) {
        const x = await c.tensor(rows, columns, { wide });
        const y = await c.same("gather", ({ backend, of }) => backend.gatherRows(of(x), picked), 1e-7);
        const back = (side: Parameters<Parameters<typeof c.same>[1]>[0]) =>
          side.backend.gatherRowsBackward(side.of(y), picked, rows + 3);
        await c.same("back", back, wide ? 1e-5 : tolerance);
      }
    }
    await c.close();
  });

  it("copyRows changes its destination in place and nothing else", async () => {
    const c = compare(22);
    for (const [from, to] of [
      [false, false],
      [true, false],
      [false, true],
    ]) {
      const source = await c.tensor(5, 45, { wide: from });
      const destination = await c.tensor(70, 45, { wide: to });
      c.both(({ backend, of }) => backend.copyRows(of(source), of(destination), Int32Array.of(69, 0, 31, 32, 0)));
      await c.same(
        "copied",
        ({ backend, of }) => backend.add(of(destination), backend.zeros(70, 45)),
        1e-7 + (from && !to ? tolerance : 0),
      );
    }
    await c.close();
  });

  it("argmax gives the first of equal values", async () => {
    const backend = open();
    const rows = [
      [3, 1, 3, 2],
      [-5, -2, -2, -9],
      [0, 0, 0, 0],
      [1, 2, 3, 4],
    ];
    const best = backend.argmax(backend.tensor(rows.flat(), 4, 4));
    expect([best.rows, best.columns, best.wide]).toEqual([4, 1, true]);
    expect(Array.from(await backend.read(best))).toEqual([0, 1, 0, 3]);
    for (const [columns, at] of [
      [100, [99, 64]],
      [33, [32, 0]],
      [257, [255, 256]],
    ] as const) {
      const values = new Float32Array(columns).fill(-4);
      for (const c of at) values[c] = -1;
      const found = await backend.read(backend.argmax(backend.tensor(values, 1, columns, { wide: true })));
      expect(Array.from(found)).toEqual([Math.min(...at)]);
    }
    await backend.close();
  });
}

/** The seed for which element (0, 0) gets this hash: inverts the finaliser of dropoutKeeps. */
function seedWithHash(hash: number): number {
  const inverse = (odd: number) => {
    let x = odd;
    for (let i = 0; i < 5; i++) x = Math.imul(x, 2 - Math.imul(odd, x));
    return x;
  };
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, inverse(0xc2b2ae35));
  h ^= (h >>> 13) ^ (h >>> 26);
  h = Math.imul(h, inverse(0x85ebca6b));
  return (h ^ (h >>> 16)) >>> 0;
}
