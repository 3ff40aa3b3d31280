import { describe, expect, it } from "vitest";
import type { Backend, Tensor, Values, Weight } from "../backend.ts";
import { openReference } from "../reference/backend.ts";
import type { Contract } from "./backend.contract.ts";
import { expectSameBits } from "./comparison.contract.ts";
import { misuses } from "./misuse.contract.ts";

const numbers = (count: number, phase: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(phase + i * i));

export function ruleContract({ open, openWithThreads }: Contract): void {
  it("an operation keeps its operands although they are freed after it was issued", async () => {
    const backend = open();
    const w = backend.weight(
      { name: "w", rows: 64, columns: 64, storage: "float32", trainable: false },
      numbers(64 * 64, 1),
    );
    const x = backend.tensor(numbers(200 * 64, 2), 200, 64);
    const expected = await backend.read(backend.matmul(x, w));
    const results = Array.from({ length: 20 }, () => {
      const copy = backend.tensor(numbers(200 * 64, 2), 200, 64);
      const y = backend.matmul(copy, w);
      backend.free(copy);
      backend.free(backend.tensor(new Float32Array(200 * 64).fill(Number.NaN), 200, 64));
      const read = backend.read(y);
      backend.free(y);
      return read;
    });
    const other = backend.weight(
      { name: "v", rows: 3, columns: 64, storage: "float32", trainable: false },
      numbers(192, 3),
    );
    const last = backend.matmul(x, other);
    backend.freeWeight(other);
    for (const values of await Promise.all(results)) expectSameBits("y", values, expected);
    expect((await backend.read(last)).every(Number.isFinite)).toBe(true);
    await backend.close();
  });

  it("values given are copied at the call", async () => {
    const backend = open();
    const values = Float32Array.of(1, 2, 3);
    const ids = Int32Array.of(2, 1);
    const table = backend.weight({ name: "table", rows: 3, columns: 1, storage: "float32", trainable: false }, values);
    const tensor = backend.tensor(values, 1, 3);
    const embedded = backend.embed(table, ids);
    const gathered = backend.gatherRows(embedded, Int32Array.of(1));
    values.fill(9);
    ids.fill(0);
    expect(Array.from(await backend.read(tensor))).toEqual([1, 2, 3]);
    expect(Array.from(await backend.read(embedded))).toEqual([3, 2]);
    expect(Array.from(await backend.read(gathered))).toEqual([2]);
    await backend.close();
  });

  it("reads see what was issued before them and nothing later", async () => {
    const backend = open();
    const cache = backend.zeros(2, 3);
    const before = backend.read(cache);
    backend.copyRows(backend.tensor([1, 2, 3], 1, 3), cache, Int32Array.of(1));
    expect(Array.from(await backend.read(cache))).toEqual([0, 0, 0, 1, 2, 3]);
    expect(Array.from(await before)).toEqual([0, 0, 0, 0, 0, 0]);
    await backend.close();
  });

  it("counts its memory", async () => {
    const backend = open();
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0 });
    const empty = backend.memory().bytes;
    const x = backend.zeros(64, 64);
    const w = backend.weight({ name: "w", rows: 64, columns: 64, storage: "float32", trainable: true });
    const full = backend.memory();
    expect(full).toMatchObject({ tensors: 1, weights: 1 });
    const elementBytes = backend.precision === "bfloat16" ? 2 : 4;
    expect(full.bytes - empty).toBeGreaterThanOrEqual(64 * 64 * (elementBytes + 16));
    backend.free(x);
    backend.freeWeight(w);
    await backend.sync();
    const after = backend.memory();
    expect(after).toMatchObject({ tensors: 0, weights: 0 });
    expect(after.bytes).toBeLessThan(full.bytes);
    expect(after.peakBytes).toBeGreaterThanOrEqual(full.bytes);
    await backend.close();
  });

  it("gives the same bits every time, with any number of threads", async () => {
    const first = await everything(open());
    const expectSame = async (what: string, backend: Backend) => {
      for (const [i, values] of (await everything(backend)).entries()) {
        expectSameBits(`${what}, result ${i}`, values, first[i]);
      }
    };
    await expectSame("again", open());
    if (!openWithThreads) return;
    for (const threads of [1, 3]) await expectSame(`${threads} threads`, openWithThreads(threads));
  });

  it("cannot be used after close", async () => {
    const backend = open();
    const x = backend.zeros(2, 3);
    await backend.close();
    expect(() => backend.zeros(1, 1)).toThrow("closed");
    expect(() => backend.add(x, x)).toThrow("closed");
    await expect((async () => backend.read(x))()).rejects.toThrow("closed");
  });

  describe("misuse is an error and leaves nothing behind", () => {
    it.each(misuses)("$name", async ({ run, message }) => {
      const backend = open();
      const tensors = new Map<string, Tensor>();
      const weights = new Map<string, Weight>();
      const elsewhere = openReference();
      const tensor = (rows: number, columns: number, wide: boolean) => {
        const key = `${rows},${columns},${wide}`;
        const values = () => numbers(rows * columns, rows);
        if (!tensors.has(key)) tensors.set(key, backend.tensor(values(), rows, columns, { wide }));
        return tensors.get(key)!;
      };
      const made = {
        x: (rows: number, columns: number) => tensor(rows, columns, false),
        wide: (rows: number, columns: number) => tensor(rows, columns, true),
        w: (rows: number, columns: number, trainable = true) => {
          const key = `${rows},${columns},${trainable}`;
          const spec = { name: "w", rows, columns, storage: "float32", trainable } as const;
          if (!weights.has(key)) weights.set(key, backend.weight(spec));
          return weights.get(key)!;
        },
        freed: () => {
          const tensor = backend.zeros(3, 5);
          backend.free(tensor);
          return tensor;
        },
        freedWeight: () => {
          const weight = backend.weight({ name: "gone", rows: 4, columns: 5, storage: "float32", trainable: true });
          backend.freeWeight(weight);
          return weight;
        },
        foreign: () => elsewhere.zeros(3, 5),
      };
      await expect((async () => run(backend, made))()).rejects.toThrow(message);
      for (const weight of weights.values()) {
        if (!weight.trainable) continue;
        expect((await backend.readWeight(weight, "gradient")).every((value) => value === 0)).toBe(true);
      }
      expect(backend.memory()).toMatchObject({ tensors: tensors.size, weights: weights.size });
      await backend.close();
    });
  });
}

/** The results of every operation, on shapes that threads divide. */
async function everything(backend: Backend): Promise<Values[]> {
  const [rows, width, vocabulary] = [150, 96, 333];
  const weight = (name: string, o: number, i: number) =>
    backend.weight({ name, rows: o, columns: i, storage: "float32", trainable: true }, numbers(o * i, o));
  const w = weight("w", width, width);
  const head = weight("head", vocabulary, width);
  const g = weight("g", 1, width);
  const ids = Int32Array.from({ length: rows }, (_, t) => (t * t) % 7);
  const positions = Int32Array.from({ length: rows }, (_, t) => t);
  const spec = { heads: 6, keyValueHeads: 3, headWidth: 16, scale: 0.25, slopes: null };
  const context = [{ start: 0, length: 50, position: 0 }];
  const segments = [
    { start: 0, length: 50, keyStart: 0, position: 0, context: [] },
    { start: 50, length: 60, keyStart: 50, position: 50, context },
    { start: 110, length: 40, keyStart: 110, position: 50, context },
  ];
  const x = backend.embed(head, ids);
  const n = backend.rmsNorm(x, g, 1e-5);
  const frequencies = Float32Array.of(1, 0.1, 0.01);
  const q = backend.rotary(backend.matmul(n, w, { bias: g }), positions, { ...spec, frequencies, layout: "halves" });
  const kv = weight("kv", 48, width);
  const k = backend.matmul(n, kv);
  const { output, logSumExp } = backend.attention(q, k, k, segments, spec);
  const y = backend.matmul(backend.swiglu(output, n), w, { residual: x, wide: true });
  const dropped = backend.dropout(y, 0.2, 7);
  const logits = backend.matmul(dropped, head);
  const { loss, dLogits } = backend.crossEntropy(logits, ids, new Float32Array(rows).fill(1 / rows), 0.1);
  const dy = backend.matmulBackwardInput(dLogits, head, { residual: y, wide: true });
  backend.matmulBackwardWeight(dLogits, dropped, head);
  backend.biasBackward(dy, g);
  const gradients = backend.attentionBackward({ q, k, v: k, output, logSumExp }, dy, segments, spec);
  const dx = backend.rmsNormBackward(x, g, gradients.dq, 1e-5, dy);
  backend.embedBackward(head, ids, dx);
  const scattered = backend.gatherRowsBackward(dx, ids, 9);
  const norm = backend.gradientNorm([w, head, g]);
  const settings = { learningRate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01, step: 1 };
  backend.adamW([w, head, g], { ...settings, gradientScale: 1 });
  const swiglus = backend.swigluBackward(output, n, dy);
  const chances = backend.logProbabilities(logits, ids, ids);
  const results = [y, logits, loss, dLogits, gradients.dq, gradients.dk, gradients.dv, dx, scattered, norm, chances];
  const read = [...results, swiglus.dGate, swiglus.dUp, backend.argmax(logits)].map((tensor) => backend.read(tensor));
  const values = await Promise.all([...read, backend.readWeight(head), backend.readWeight(g, "gradient")]);
  await backend.close();
  return values;
}
