import { execFileSync, spawnSync } from "node:child_process";
import { afterAll, describe, expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import type { AdamWSettings, Backend, Values, Weight } from "../backend.ts";
import { roundToBfloat16 } from "../backend.ts";
import { precisionsOf, skipOtherLevels } from "./levels.contract.ts";
import { addonFile, BF16_LEVELS } from "./levels.ts";
import { nativeStatus, openNative } from "./open.ts";

// The products of the native backend on every level of this machine against plain float64 loops, with outputs poisoned by NaN.

const status = nativeStatus();
if (!status.available) console.warn(`native products are not tested: ${status.reason}`);

const random = createRandom(20260731);
const randoms = (count: number) => Float32Array.from({ length: count }, () => random.uniform() * 2 - 1);

/** [T, I, O]: odd sizes, single rows and columns, several passes over the depth, and large enough for every cut. */
const SHAPES: [number, number, number][] = [
  [1, 1, 1],
  [1, 70, 33],
  [3, 32, 64],
  [16, 65, 100],
  [17, 31, 1],
  [33, 33, 33],
  [64, 96, 128],
  [100, 577, 40],
  [130, 257, 301],
  [31, 1100, 65],
  [700, 1300, 37],
  [400, 2900, 70],
  [322, 16_500, 10],
];

function worstError(got: Values, want: ArrayLike<number>): { index: number; error: number; got: number; want: number } {
  expect(got.length).toBe(want.length);
  let scale = 0;
  for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]));
  let worst = { index: -1, error: 0, got: 0, want: 0 };
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i]) / Math.max(scale, 1e-6);
    if (!(error <= worst.error)) worst = { index: i, error, got: got[i], want: want[i] };
  }
  return worst;
}

function expectClose(got: Values, want: ArrayLike<number>, tolerance: number): void {
  const worst = worstError(got, want);
  expect(worst.error, `element ${worst.index} is ${worst.got}, expected ${worst.want}`).toBeLessThan(tolerance);
}

/** c[R,N] = Σ_k a(r,k) · b(k,n). */
function product(rows: number, depth: number, columns: number, a: (r: number, k: number) => number, b: Float64Array) {
  const c = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < depth; k++) {
      const factor = a(r, k);
      for (let n = 0; n < columns; n++) c[r * columns + n] += factor * b[k * columns + n];
    }
  }
  return c;
}

/** The transpose [rows, columns] of values [columns, rows]. */
const transposed = (values: ArrayLike<number>, rows: number, columns: number) =>
  Float64Array.from({ length: rows * columns }, (_, i) => values[(i % columns) * rows + Math.floor(i / columns)]);

const combinations = status.levels.flatMap((level) => precisionsOf(level).map((precision) => ({ level, precision })));

skipOtherLevels("native products");
for (const { level, precision } of combinations) {
  describe.skipIf(!status.available)(`native products, ${level}, ${precision}`, () => {
    const backend = openNative({ level, precision, poison: true, threads: 2 });
    afterAll(() => backend.close());
    const narrow = precision === "bfloat16" ? roundToBfloat16 : Math.fround;
    const narrowTolerance = precision === "bfloat16" ? 6e-3 : 1e-5;
    const wideTolerance = 2e-5;
    const weightOf = (rows: number, columns: number, values: Float32Array): Weight =>
      backend.weight({ name: "w", rows, columns, storage: "float32", trainable: true }, values);

    it.each(SHAPES)("x[%i,%i] · w[%i,I]ᵀ and its gradients", async (rows, inputs, outputs) => {
      const x = randoms(rows * inputs).map(narrow);
      const dy = randoms(rows * outputs).map(narrow);
      const wValues = randoms(outputs * inputs).map(narrow);
      const w = weightOf(outputs, inputs, wValues);
      const bias = randoms(outputs);
      const b = weightOf(1, outputs, bias);
      const residualY = randoms(rows * outputs);
      const residualX = randoms(rows * inputs).map(narrow);

      const wide = { wide: true };
      const tensors = {
        x: backend.tensor(x, rows, inputs),
        xWide: backend.tensor(x, rows, inputs, wide),
        dy: backend.tensor(dy, rows, outputs),
        dyWide: backend.tensor(dy, rows, outputs, wide),
        residualY: backend.tensor(residualY, rows, outputs, wide),
        residualX: backend.tensor(residualX, rows, inputs),
      };
      const before = backend.memory().tensors;
      const y = backend.matmul(tensors.x, w);
      const yFull = backend.matmul(tensors.xWide, w, {
        bias: b,
        residual: tensors.residualY,
        scale: 0.5,
        wide: true,
      });
      const dx = backend.matmulBackwardInput(tensors.dyWide, w, { scale: 2 });
      const dxFull = backend.matmulBackwardInput(tensors.dy, w, { residual: tensors.residualX, wide: true });
      backend.matmulBackwardWeight(tensors.dy, tensors.x, w, 0.25);
      backend.matmulBackwardWeight(tensors.dyWide, tensors.xWide, w);
      backend.biasBackward(tensors.dy, b);

      const plainY = product(rows, inputs, outputs, (t, i) => x[t * inputs + i], transposed(wValues, inputs, outputs));
      const plainX = product(rows, outputs, inputs, (t, o) => dy[t * outputs + o], Float64Array.from(wValues));
      const plainW = product(outputs, rows, inputs, (o, t) => dy[t * outputs + o], Float64Array.from(x));
      const biased = plainY.map((value, i) => 0.5 * value + bias[i % outputs] + residualY[i]);
      expectClose(await backend.read(y), plainY, narrowTolerance);
      expectClose(await backend.read(yFull), biased, wideTolerance);
      expectClose(
        await backend.read(dx),
        plainX.map((value) => 2 * value),
        narrowTolerance,
      );
      expectClose(
        await backend.read(dxFull),
        plainX.map((value, i) => value + residualX[i]),
        wideTolerance,
      );
      expectClose(
        await backend.readWeight(w, "gradient"),
        plainW.map((value) => 1.25 * value),
        wideTolerance,
      );
      const ones = product(1, rows, outputs, () => 1, Float64Array.from(dy));
      expectClose(await backend.readWeight(b, "gradient"), ones, wideTolerance);

      expect(backend.memory().tensors).toBe(before + 4);
      for (const tensor of [...Object.values(tensors), y, yFull, dx, dxFull]) backend.free(tensor);
      backend.freeWeight(w);
      backend.freeWeight(b);
    });

    it("keeps padding out of a chain of products", async () => {
      const sizes = [5, 37, 45, 3];
      const weights = [1, 2].map((i) => randoms(sizes[i + 1] * sizes[i]).map(narrow));
      const x = randoms(5 * 37).map(narrow);
      const [first, second] = [weightOf(45, 37, weights[0]), weightOf(3, 45, weights[1])];
      const bias = weightOf(1, 45, new Float32Array(45).fill(3));
      const input = backend.tensor(x, 5, 37);
      const hidden = backend.matmul(input, first, { bias, wide: true });
      const output = backend.matmul(hidden, second, { wide: true });
      const plain = product(5, 37, 45, (t, i) => x[t * 37 + i], transposed(weights[0], 37, 45)).map((v) => v + 3);
      const want = product(5, 45, 3, (t, i) => narrow(plain[t * 45 + i]), transposed(weights[1], 45, 3));
      expectClose(await backend.read(output), want, precision === "bfloat16" ? 5e-3 : 1e-5);
      for (const tensor of [input, hidden, output]) backend.free(tensor);
      for (const weight of [first, second, bias]) backend.freeWeight(weight);
    });

    it("reads weights back and renews both packed copies", async () => {
      for (const storage of ["float32", "bfloat16"] as const) {
        for (const trainable of [false, true]) {
          const w = backend.weight({ name: "w", rows: 40, columns: 50, storage, trainable });
          const dy = backend.tensor(randoms(2 * 40).map(narrow), 2, 40);
          backend.free(backend.matmulBackwardInput(dy, w));
          const values = randoms(40 * 50);
          backend.writeWeight(w, values);
          const stored = storage === "bfloat16" && !trainable ? values.map(roundToBfloat16) : values;
          expect(await backend.readWeight(w)).toEqual(stored);
          const product32 = values.map(storage === "bfloat16" ? roundToBfloat16 : narrow);
          const got = backend.matmulBackwardInput(dy, w, { wide: true });
          const dyValues = await backend.read(dy);
          const want = product(2, 40, 50, (t, o) => dyValues[t * 40 + o], Float64Array.from(product32));
          expectClose(await backend.read(got), want, wideTolerance);
          backend.free(got);
          backend.free(dy);
          backend.freeWeight(w);
        }
      }
    });

    it("updates masters by AdamW and measures gradients", async () => {
      const settings: AdamWSettings = {
        learningRate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weightDecay: 0.1,
        step: 1,
        gradientScale: 0.5,
      };
      const values = randoms(45 * 70);
      const gradient = randoms(45 * 70);
      const w = weightOf(45, 70, values);
      const v = weightOf(1, 70, values.subarray(0, 70));
      const plain = { value: Float64Array.from(values), m: new Float64Array(3150), v: new Float64Array(3150) };
      for (let step = 1; step <= 3; step++) {
        backend.writeWeight(w, gradient, "gradient");
        backend.writeWeight(v, gradient.subarray(0, 70), "gradient");
        backend.adamW([w, v], { ...settings, step });
        for (let i = 0; i < plain.value.length; i++) {
          const g = gradient[i] * 0.5;
          plain.m[i] = 0.9 * plain.m[i] + 0.1 * g;
          plain.v[i] = 0.99 * plain.v[i] + 0.01 * g * g;
          const update = plain.m[i] / (1 - 0.9 ** step) / (Math.sqrt(plain.v[i] / (1 - 0.99 ** step)) + 1e-8);
          plain.value[i] -= 0.01 * (update + 0.1 * plain.value[i]);
        }
      }
      expectClose(await backend.readWeight(w), plain.value, 1e-6);
      expectClose(await backend.readWeight(v), plain.value.subarray(0, 70), 1e-6);
      expectClose(await backend.readWeight(w, "moment2"), plain.v, 1e-6);
      const one = backend.tensor(new Float32Array(70).fill(1), 1, 70);
      const y = backend.matmul(one, w, { wide: true });
      const want = product(1, 70, 45, () => 1, transposed(plain.value.map(narrow), 70, 45));
      expectClose(await backend.read(y), want, precision === "bfloat16" ? 2e-3 : 1e-5);
      const norm = backend.gradientNorm([w, v]);
      const squares = (list: Float32Array) => list.reduce((sum, g) => sum + g * g, 0);
      expectClose(await backend.read(norm), [Math.sqrt(squares(gradient) + squares(gradient.subarray(0, 70)))], 1e-6);
      backend.zeroGradients([w, v]);
      const zero = backend.gradientNorm([w, v]);
      expect(await backend.read(zero)).toEqual(new Float32Array(1));
      for (const tensor of [one, y, norm, zero]) backend.free(tensor);
      for (const weight of [w, v]) backend.freeWeight(weight);
    });

    it("gives all memory back", () => {
      expect(backend.memory()).toMatchObject({ bytes: 0, tensors: 0, weights: 0 });
      expect(backend.memory().peakBytes).toBeGreaterThan(0);
    });
  });
}

describe.skipIf(!status.available)("native backend", () => {
  const workload = async (backend: Backend): Promise<Values[]> => {
    const fixed = createRandom(5);
    const values = (count: number) => Float32Array.from({ length: count }, () => fixed.uniform() - 0.5);
    const w = backend.weight({ name: "w", rows: 300, columns: 500, storage: "float32", trainable: true }, values(15e4));
    const x = backend.tensor(values(400 * 500), 400, 500);
    const y = backend.matmul(x, w);
    backend.matmulBackwardWeight(y, x, w);
    const norm = backend.gradientNorm([w]);
    return Promise.all([backend.read(y), backend.readWeight(w, "gradient"), backend.read(norm)]);
  };

  it("gives the same numbers with any number of threads", async () => {
    const [one, three] = [openNative({ threads: 1 }), openNative({ threads: 3 })];
    expect(await workload(one)).toEqual(await workload(three));
    await Promise.all([one.close(), three.close()]);
  });

  it("leaves the event loop free while a long queue runs", async () => {
    const backend = openNative({ level: status.levels[0], threads: 1 });
    const w = backend.weight({ name: "w", rows: 512, columns: 512, storage: "float32", trainable: false });
    const x = backend.zeros(512, 512);
    const startMs = performance.now();
    for (let i = 0; i < 60; i++) backend.free(backend.matmul(x, w));
    const issuedMs = performance.now() - startMs;
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    await backend.sync();
    const totalMs = performance.now() - startMs;
    clearInterval(timer);
    expect(issuedMs).toBeLessThan(totalMs / 2);
    expect(ticks).toBeGreaterThan(5);
    await backend.close();
  });

  it("throws at the call on misuse", async () => {
    const backend = openNative({ threads: 1 });
    const w = backend.weight({ name: "w", rows: 3, columns: 4, storage: "float32", trainable: false });
    const x = backend.zeros(2, 5);
    expect(() => backend.matmul(x, w)).toThrow(/x is \[2,5\], expected 4 columns/);
    expect(() => backend.adamW([w], {} as AdamWSettings)).toThrow(/frozen/);
    expect(() => backend.tensor([1, 2], 1, 3)).toThrow(/2 values/);
    backend.free(x);
    expect(() => backend.free(x)).toThrow(/was freed/);
    expect(() => backend.matmul(x, w)).toThrow(/was freed/);
    await backend.close();
    expect(() => backend.zeros(1, 1)).toThrow(/closed/);
    await backend.close();
  });

  // Windows has no such shell, macOS no such limit, and under qemu a shell of the machine cannot start this program.
  const limited = `ulimit -v 6000000 && exec "${process.execPath}"`;
  const isLimitable = spawnSync("sh", ["-c", `${limited} --version`]).status === 0;
  const unlimited = isLimitable ? "" : ": no shell limits the memory of this program here";
  it.skipIf(!isLimitable)(`tells when memory runs out instead of crashing${unlimited}`, () => {
    const addon = JSON.stringify(addonFile(status.levels[0]));
    const script = `
      const engine = new (require(${addon}).Engine)(1, false, false);
      const large = engine.tensor(null, 40000, 50000, true);
      const small = engine.tensor(null, 1, 1, true);
      engine.read(small).catch((error) => console.log(error.message))
        .then(() => { engine.free(large); return engine.close(); }).then(() => console.log("closed"));`;
    expect(execFileSync("sh", ["-c", `${limited} -e '${script}'`], { encoding: "utf8" })).toBe(
      "the native backend ran out of memory\nclosed\n",
    );
  });

  it("refuses levels, threads and precisions it cannot have", () => {
    process.env.CRE_CPU = "vax";
    expect(() => openNative()).toThrow(/CRE_CPU is "vax", but this machine runs only: portable/);
    delete process.env.CRE_CPU;
    process.env.CRE_THREADS = "many";
    expect(() => openNative()).toThrow(/CRE_THREADS is many, expected a whole number from 1 to 256/);
    delete process.env.CRE_THREADS;
    const level = status.levels.find((name) => !BF16_LEVELS.includes(name));
    if (level) expect(() => openNative({ level, precision: "bfloat16" })).toThrow(/level avx512bf16 or amx/);
  });
});
