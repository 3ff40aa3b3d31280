import { describe, expect, it } from "vitest";
import { createRandom } from "../../base/random.ts";
import { measureKernels } from "../../bench/kernels.ts";
import type { AttentionSegment, AttentionSpec, Backend, Tensor } from "../backend.ts";
import { compare, expectClose } from "../contract/comparison.contract.ts";
import { openReference } from "../reference/backend.ts";
import { openWasm } from "../wasm/open.ts";
import { precisionsOf, skipOtherLevels } from "./levels.contract.ts";
import { nativeStatus, openNative } from "./open.ts";

// Sizes that lead the kernels to other paths than the contract suite: several chunks of keys, segments that are divided or joined,
// many heads on one key, vocabularies beyond one tile.

const status = nativeStatus();

interface Variant {
  name: string;
  tolerance: number;
  openWith: (threads: number) => Backend;
}
const variants: Variant[] = status.levels.flatMap((level) =>
  precisionsOf(level).map((precision) => ({
    name: `${level}, ${precision}`,
    tolerance: precision === "float32" ? 1e-5 : 2e-2,
    openWith: (threads: number) => openNative({ level, precision, threads, poison: true }),
  })),
);

const specOf = (heads: number, keyValueHeads: number, headWidth: number, alibi: boolean): AttentionSpec => ({
  heads,
  keyValueHeads,
  headWidth,
  scale: headWidth ** -0.5,
  slopes: alibi ? Float32Array.from({ length: heads }, (_, h) => 2 ** -(4 + h)) : null,
});

/** A prefix of 290 rows, six answers of 50 rows behind it, one answer of 3 rows that also sees a part of another one. */
function longPrefix(bidirectional = 0): { rows: number; segments: AttentionSegment[] } {
  const prefix = { start: 0, length: 290, position: 0 };
  const segments: AttentionSegment[] = [
    { start: 0, length: 290, keyStart: 0, position: 0, context: [], bidirectional },
  ];
  for (let start = 290; start < 590; start += 50) {
    segments.push({ start, length: 50, keyStart: start, position: 290, context: [prefix] });
  }
  const seen = { start: 345, length: 7, position: 295 };
  segments.push({ start: 590, length: 3, keyStart: 590, position: 302, context: [prefix, seen] });
  return { rows: 593, segments };
}

/** 20 rows, each with its own cache of some 70 keys. */
function decoding(): { rows: number; keys: number; segments: AttentionSegment[] } {
  const segments = Array.from({ length: 20 }, (_, i): AttentionSegment => {
    const context = [
      { start: 3, length: 11, position: 0 },
      { start: 80 * (i + 1), length: 55 + i, position: 11 },
    ];
    return { start: i, length: 1, keyStart: 80 * (i + 1) + 55 + i, position: 66 + i, context };
  });
  return { rows: 20, keys: 80 * 21, segments };
}

function sequences(count: number, length: number): { rows: number; segments: AttentionSegment[] } {
  const segments = Array.from({ length: count }, (_, i): AttentionSegment => {
    return { start: i * length, length, keyStart: i * length, position: 0, context: [] };
  });
  return { rows: count * length, segments };
}

/** Prompts whose tokens see each other, each with an answer of 3 rows in the same segment. */
function prompts(count: number, length: number): { rows: number; segments: AttentionSegment[] } {
  const { rows, segments } = sequences(count, length + 3);
  return { rows, segments: segments.map((segment) => ({ ...segment, bidirectional: length })) };
}

// The WebAssembly module has the same kernels.
variants.push({ name: "wasm", tolerance: 1e-5, openWith: (threads) => openWasm({ threads, poison: true }) });

describe.each(variants)("native kernels: $name", ({ tolerance, openWith }) => {
  it.each([
    ["causal", specOf(1, 1, 64, false), longPrefix()],
    ["causal", specOf(2, 1, 8, true), longPrefix()],
    ["bidirectional", specOf(1, 1, 64, false), longPrefix(290)],
    ["bidirectional", specOf(2, 1, 8, true), longPrefix(270)],
  ] as const)("attention behind a long %s prefix: %o", async (_, spec, { rows, segments }) => {
    const c = compare(openWith(2), tolerance, 1);
    const q = await c.tensor(rows, spec.heads * spec.headWidth);
    const k = await c.tensor(rows, spec.keyValueHeads * spec.headWidth);
    const v = await c.tensor(rows, spec.keyValueHeads * spec.headWidth);
    const dOutput = await c.tensor(rows, spec.heads * spec.headWidth);
    const { output, logSumExp } = await c.sameAll("forward", ({ backend, of }) =>
      backend.attention(of(q), of(k), of(v), segments, spec),
    );
    const backward = ({ backend, of }: Parameters<Parameters<typeof c.same>[1]>[0]) =>
      backend.attentionBackward(
        { q: of(q), k: of(k), v: of(v), output: of(output), logSumExp: of(logSumExp) },
        of(dOutput),
        segments,
        spec,
      );
    await c.sameAll("backward", backward, 2 * tolerance);
    await c.close();
  });

  it.each([specOf(9, 1, 32, true), specOf(6, 2, 64, false), specOf(4, 2, 24, false)])(
    "attention of single rows over caches: %o",
    async (spec) => {
      const { rows, keys, segments } = decoding();
      const c = compare(openWith(2), tolerance, 2);
      const q = await c.tensor(rows, spec.heads * spec.headWidth);
      const k = await c.tensor(keys, spec.keyValueHeads * spec.headWidth);
      const v = await c.tensor(keys, spec.keyValueHeads * spec.headWidth);
      await c.sameAll("forward", ({ backend, of }) => backend.attention(of(q), of(k), of(v), segments, spec));
      await c.close();
    },
  );

  // What one thread writes of the second case goes past the caches, what three write does not.
  it.each([
    ["behind a long prefix", specOf(4, 2, 32, false), longPrefix()],
    ["of many sequences", specOf(16, 16, 64, false), sequences(11, 100)],
    ["of bidirectional prompts", specOf(6, 3, 64, false), prompts(5, 290)],
  ] as const)("attention %s gives the same numbers with 1 and 3 threads", async (_, spec, { rows, segments }) => {
    const [one, three] = await Promise.all(
      [1, 3].map(async (threads) => {
        const backend = openWith(threads);
        const random = createRandom(3);
        const made = (columns: number): Tensor =>
          backend.tensor(
            Float32Array.from({ length: rows * columns }, () => random.normal()),
            rows,
            columns,
          );
        const [width, keyWidth] = [spec.heads * spec.headWidth, spec.keyValueHeads * spec.headWidth];
        const [q, k, v, dOutput] = [made(width), made(keyWidth), made(keyWidth), made(width)];
        const forward = { q, k, v, ...backend.attention(q, k, v, segments, spec) };
        const { dq, dk, dv } = backend.attentionBackward(forward, dOutput, segments, spec);
        const values = await Promise.all([forward.output, forward.logSumExp, dq, dk, dv].map((x) => backend.read(x)));
        await backend.close();
        return values;
      }),
    );
    const isSame = three.map((values, i) => Buffer.from(values.buffer).equals(Buffer.from(one[i].buffer)));
    expect(isSame, "output, logSumExp, dq, dk, dv").toEqual([true, true, true, true, true]);
  });

  it.each([0, 0.1])("cross-entropy over 40,003 tokens, smoothing %d, is exact to 1e-5", async (smoothing) => {
    const c = compare(openWith(2), tolerance, 4);
    const logits = await c.tensor(11, 40_003, { wide: true, spread: 3 });
    const targets = Int32Array.from({ length: 11 }, (_, t) => t * 4000 + (t === 10 ? 2 : 0));
    const weights = Float32Array.from({ length: 11 }, (_, t) => (t === 4 ? 0 : 1 + t / 10));
    const rows = Int32Array.from({ length: 33 }, (_, n) => n % 11);
    const tokens = Int32Array.from({ length: 33 }, (_, n) => n * 1250);
    await c.same("loss", ({ backend, of }) => backend.crossEntropy(of(logits), targets, weights, smoothing).loss, 1e-5);
    await c.same(
      "gradient",
      ({ backend, of }) => backend.crossEntropy(of(logits), targets, weights, smoothing).dLogits,
    );
    await c.same("log probabilities", ({ backend, of }) => backend.logProbabilities(of(logits), rows, tokens), 1e-5);
    await c.close();
  });

  it.each([
    [1, 70, "float32"],
    [5, 70, "bfloat16"],
  ] as const)("a table [%d,%d] of %s: its rows and their gradient", async (rows, columns, storage) => {
    const [backend, judge] = [openWith(2), openReference()];
    const random = createRandom(5);
    const ids = Int32Array.from({ length: 40 }, (_, t) => t % rows);
    const values = Float32Array.from({ length: rows * columns }, () => random.normal());
    const dValues = Float32Array.from({ length: 40 * columns }, () => random.normal());
    const [got, expected] = await Promise.all(
      [backend, judge].map(async (on) => {
        const table = on.weight({ name: "table", rows, columns, storage, trainable: true }, values);
        on.embedBackward(table, ids, on.tensor(dValues, 40, columns, { wide: true }));
        return [await on.read(on.embed(table, ids)), await on.readWeight(table, "gradient")];
      }),
    );
    expect(got[0]).toEqual(expected[0]);
    expectClose("gradient", got[1], expected[1], columns, 1e-6);
    await backend.close();
  });

  it("rotary angles of distant positions are exact", async () => {
    const backend = openWith(2);
    const positions = Int32Array.of(0, 1, 31_415, 131_071, 1_000_003, 2);
    const frequencies = Float32Array.from({ length: 16 }, (_, i) => 10_000 ** (-i / 16));
    const spec = { heads: 1, headWidth: 32, frequencies, layout: "halves" } as const;
    const x = new Float32Array(6 * 32).map((_, i) => (i % 32 < 16 ? 1 : 0));
    const y = await backend.read(backend.rotary(backend.tensor(x, 6, 32, { wide: true }), positions, spec));
    const allowed = backend.precision === "bfloat16" ? 2 ** -9 : 1e-6;
    for (const [t, position] of positions.entries()) {
      for (let i = 0; i < 16; i++) {
        const angle = position * frequencies[i];
        expect(Math.abs(y[t * 32 + i] - Math.cos(angle)), `cos ${angle}`).toBeLessThan(allowed);
        expect(Math.abs(y[t * 32 + 16 + i] - Math.sin(angle)), `sin ${angle}`).toBeLessThan(allowed);
      }
    }
    await backend.close();
  });

  it("dropout keeps what the reference keeps", async () => {
    const [backend, judge] = [openWith(2), openReference()];
    const ones = new Float32Array(70 * 100).fill(1);
    for (const [seed, probability] of [
      [1, 0.1],
      [0xfffffff0, 0.5],
    ]) {
      const kept = async (on: Backend) =>
        Array.from(await on.read(on.dropout(on.tensor(ones, 70, 100), probability, seed)), (value) =>
          value > 0 ? "1" : "0",
        );
      expect((await kept(backend)).join("")).toBe((await kept(judge)).join(""));
    }
    await backend.close();
  });
});

describe.skipIf(!status.available)("the benchmark of kernels", () => {
  it("times every kernel and leaves nothing behind", async () => {
    const backend = openNative();
    const names: string[] = [];
    for await (const { name, ms } of measureKernels(backend, { rounds: 1, roundMs: 1 })) {
      expect(ms, name).toBeGreaterThan(0);
      names.push(name);
    }
    expect(names).toHaveLength(18);
    expect(backend.memory()).toMatchObject({ tensors: 0, weights: 0 });
    await backend.close();
  });
});

skipOtherLevels("native kernels");
