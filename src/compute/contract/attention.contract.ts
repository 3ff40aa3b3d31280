import { expect, it } from "vitest";
import type { AttentionSegment, AttentionSpec, Rotation } from "../backend.ts";
import type { Contract } from "./backend.contract.ts";

const specOf = (heads: number, keyValueHeads: number, headWidth: number, alibi = false): AttentionSpec => ({
  heads,
  keyValueHeads,
  headWidth,
  scale: 1 / Math.sqrt(headWidth),
  slopes: alibi ? Float32Array.from({ length: heads }, (_, h) => 2 ** -((8 * (h + 1)) / heads)) : null,
});

/** The spec with `pairs` rotated pairs of each head. */
const rotating = (spec: AttentionSpec, pairs: number, layout: Rotation["layout"] = "halves"): AttentionSpec => ({
  ...spec,
  rotary: { frequencies: Float32Array.from({ length: pairs }, (_, i) => 100 ** (-i / pairs)), layout },
});

const segmentOf = (start: number, length: number, more: Partial<AttentionSegment> = {}): AttentionSegment => ({
  start,
  length,
  keyStart: start,
  position: 0,
  context: [],
  ...more,
});

interface Layout {
  queries: number;
  keys: number;
  segments: AttentionSegment[];
}

/** Packed sequences of the given lengths. */
function packed(...lengths: number[]): Layout {
  let start = 0;
  const segments = lengths.map((length) => {
    start += length;
    return segmentOf(start - length, length);
  });
  return { queries: start, keys: start, segments };
}

const prefix = { start: 0, length: 34, position: 0 };

const layouts: Record<string, Layout> = {
  "one row": packed(1),
  "one sequence of 33": packed(33),
  "packed sequences": packed(1, 5, 40, 2, 32),
  "a prefix shared by three": {
    queries: 34 + 3 + 33 + 1,
    keys: 34 + 3 + 33 + 1,
    segments: [
      segmentOf(0, 34),
      segmentOf(34, 3, { position: 34, context: [prefix] }),
      segmentOf(37, 33, { position: 34, context: [prefix] }),
      segmentOf(70, 1, { position: 37, context: [prefix, { start: 35, length: 2, position: 35 }] }),
    ],
  },
  "cache, one new row each": {
    queries: 3,
    keys: 150,
    segments: [
      segmentOf(2, 1, { keyStart: 40, position: 40, context: [{ start: 0, length: 40, position: 0 }] }),
      segmentOf(0, 1, { keyStart: 50, position: 0 }),
      segmentOf(1, 1, { keyStart: 149, position: 33, context: [{ start: 116, length: 33, position: 0 }] }),
    ],
  },
  "positions that floats do not tell apart": {
    queries: 40,
    keys: 40,
    segments: [
      segmentOf(0, 5, { position: 2 ** 24 + 1 }),
      segmentOf(5, 35, { position: 2 ** 24 + 6, context: [{ start: 0, length: 5, position: 2 ** 24 + 1 }] }),
    ],
  },
  "bidirectional rows": {
    queries: 45 + 70 + 3 + 34,
    keys: 45 + 70 + 3 + 34,
    segments: [
      segmentOf(0, 45, { bidirectional: 40 }),
      segmentOf(45, 70, { bidirectional: 70 }),
      segmentOf(115, 3, { position: 70, context: [{ start: 45, length: 70, position: 0 }] }),
      segmentOf(118, 34, { bidirectional: 33, position: 45, context: [{ start: 0, length: 45, position: 0 }] }),
    ],
  },
  "bidirectional rows into a cache": {
    queries: 40,
    keys: 160,
    segments: [
      segmentOf(3, 34, { keyStart: 50, bidirectional: 34 }),
      segmentOf(37, 2, { keyStart: 0, bidirectional: 2 }),
      segmentOf(39, 1, { keyStart: 159, position: 20, context: [{ start: 100, length: 20, position: 0 }] }),
    ],
  },
  "a shared prefix of segments too long to be computed together": {
    queries: 428,
    keys: 428,
    segments: [
      segmentOf(0, 38),
      ...[38, 168, 298].map((start) =>
        segmentOf(start, 130, { position: 38, context: [{ start: 0, length: 38, position: 0 }] }),
      ),
    ],
  },
  "rows outside, an empty context": {
    queries: 45,
    keys: 50,
    segments: [
      segmentOf(3, 4, { keyStart: 1, context: [{ start: 9, length: 0, position: 0 }] }),
      segmentOf(40, 2, { keyStart: 44 }),
    ],
  },
};

/** Blocks of rows that products read in place. */
const layoutsOfBlocks: Record<string, Layout> = { "sequences of whole blocks": packed(64, 96, 20) };

const specs = [
  specOf(1, 1, 4),
  specOf(4, 2, 8),
  specOf(3, 1, 32, true),
  specOf(6, 3, 20, true),
  rotating(specOf(2, 1, 8), 3),
  rotating(specOf(2, 2, 64), 32),
  rotating(specOf(2, 1, 64), 16, "interleaved"),
];

/** Heads of one and a half, two and four blocks of columns, of which some share a key head. */
const specsOfBlocks = [
  specOf(2, 2, 48),
  specOf(4, 1, 64),
  specOf(2, 1, 128),
  rotating(specOf(6, 2, 64), 32),
  rotating(specOf(2, 1, 128), 64),
  rotating(specOf(2, 2, 128, true), 32),
];

export function attentionContract({ compare, open, tolerance, hasBlocks }: Contract): void {
  const tested = hasBlocks ? { ...layouts, ...layoutsOfBlocks } : layouts;
  for (const [name, { queries, keys, segments }] of Object.entries(tested)) {
    it(name, async () => {
      const c = compare(queries + keys);
      for (const spec of hasBlocks ? [...specs, ...specsOfBlocks] : specs) {
        const { heads, keyValueHeads, headWidth } = spec;
        const rotated = spec.rotary ? `, ${spec.rotary.frequencies.length} pairs rotate` : "";
        const what = `${heads}/${keyValueHeads} heads of ${headWidth}${rotated}`;
        for (const wide of headWidth === 8 ? [false, true] : [false]) {
          const q = await c.tensor(queries, heads * headWidth, { wide });
          const k = await c.tensor(keys, keyValueHeads * headWidth, { wide });
          const v = await c.tensor(keys, keyValueHeads * headWidth, { wide });
          const dOutput = await c.tensor(queries, heads * headWidth, { wide });
          const { output, logSumExp } = await c.sameAll(what, ({ backend, of }) =>
            backend.attention(of(q), of(k), of(v), segments, spec),
          );
          await c.sameAll(
            what,
            ({ backend, of }) => {
              const forward = { q: of(q), k: of(k), v: of(v), output: of(output), logSumExp: of(logSumExp) };
              return backend.attentionBackward(forward, of(dOutput), segments, spec);
            },
            2 * tolerance,
          );
        }
      }
      await c.close();
    });
  }

  it("gives zeros outside of every segment, and no gradient there", async () => {
    const backend = open();
    const spec = specOf(2, 1, 8);
    const ones = (rows: number, columns: number) =>
      backend.tensor(new Float32Array(rows * columns).fill(1), rows, columns);
    const [q, k, v] = [ones(40, 16), ones(40, 8), ones(40, 8)];
    const segments = [segmentOf(3, 2)];
    const made = backend.attention(q, k, v, segments, spec);
    const isRowZero = (values: ArrayLike<number>, columns: number) =>
      Array.from({ length: 40 }, (_, t) =>
        Array.from(values)
          .slice(t * columns, (t + 1) * columns)
          .every((x) => x === 0),
      );
    const covered = Array.from({ length: 40 }, (_, t) => t === 3 || t === 4);
    const isOutside = covered.map((inside) => !inside);
    expect(isRowZero(await backend.read(made.output), 16)).toEqual(isOutside);
    const { dq, dv } = backend.attentionBackward({ q, k, v, ...made }, q, segments, spec);
    // Equal keys leave no gradient of the queries at all.
    expect(Math.max(...(await backend.read(dq)).map(Math.abs))).toBeLessThan(tolerance);
    expect(isRowZero(await backend.read(dv), 8)).toEqual(isOutside);
    await backend.close();
  });

  it("stays finite for large scores", async () => {
    const c = compare(5);
    const spec = { ...specOf(2, 2, 8), scale: 10 };
    const q = await c.tensor(9, 16, { spread: 8 });
    const k = await c.tensor(9, 16, { spread: 8 });
    const v = await c.tensor(9, 16);
    await c.same(
      "output",
      ({ backend, of }) => backend.attention(of(q), of(k), of(v), packed(4, 5).segments, spec).output,
    );
    await c.close();
  });

  it("a row sees the same through a cache as in one sequence", async () => {
    const backend = open();
    const spec = specOf(4, 2, 8, true);
    const numbers = (count: number, phase: number) =>
      Float32Array.from({ length: count }, (_, i) => Math.sin(phase + 3 * i * i));
    const [q, k, v] = [numbers(40 * 32, 1), numbers(40 * 16, 2), numbers(40 * 16, 3)];
    const [kTensor, vTensor] = [backend.tensor(k, 40, 16), backend.tensor(v, 40, 16)];
    const whole = backend.attention(backend.tensor(q, 40, 32), kTensor, vTensor, [segmentOf(0, 40)], spec);
    const last = backend.tensor(q.subarray(39 * 32), 1, 32);
    const cached = segmentOf(0, 1, { keyStart: 39, position: 39, context: [{ start: 0, length: 39, position: 0 }] });
    const alone = backend.attention(last, kTensor, vTensor, [cached], spec);
    const expected = Array.from((await backend.read(whole.output)).subarray(39 * 32));
    const got = Array.from(await backend.read(alone.output));
    const largest = Math.max(...expected.map(Math.abs));
    expect(Math.max(...got.map((value, i) => Math.abs(value - expected[i]))) / largest).toBeLessThan(tolerance);
    await backend.close();
  });
}
