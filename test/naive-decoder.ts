import type { Weight } from "../src/compute/backend.ts";
import type { Decoder, Linear } from "../src/models/decoder.ts";

type Row = number[];
type Matrix = Row[];

const dot = (a: Row, b: Row) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** Slopes as the ALiBi authors' code makes them: a geometric row for powers of two, otherwise that row and half of the next one. */
export function naiveSlopes(heads: number): number[] {
  const log = Math.log2(heads);
  if (Number.isInteger(log)) {
    const start = 2 ** -(2 ** -(log - 3));
    return Array.from({ length: heads }, (_, i) => start ** (i + 1));
  }
  const below = 2 ** Math.floor(log);
  const above = naiveSlopes(2 * below).filter((_, i) => i % 2 === 0);
  return [...naiveSlopes(below), ...above.slice(0, heads - below)];
}

/**
 * The logits of one sequence, token after token from the formulas: no batches, no shared code with the decoder, float64 throughout. With
 * `normalizesHead` the rows of the output layer are divided by their lengths here. The first `promptLength` tokens see each other.
 */
export async function naiveLogits(
  model: Decoder,
  ids: readonly number[],
  normalizesHead = false,
  promptLength = 0,
): Promise<Matrix> {
  const { spec, backend } = model;
  const { heads: H, keyValueHeads: G, headWidth: D, normEpsilon } = spec;
  const matrix = async (weight: Weight): Promise<Matrix> => {
    const values = Array.from(await backend.readWeight(weight));
    return Array.from({ length: weight.rows }, (_, o) => values.slice(o * weight.columns, (o + 1) * weight.columns));
  };
  const vector = async (weight: Weight): Promise<Row> => (await matrix(weight))[0];
  const product = async ({ weight, bias }: Linear, x: Row): Promise<Row> => {
    const added = bias ? await vector(bias) : null;
    return (await matrix(weight)).map((w, o) => dot(w, x) + (added ? added[o] : 0));
  };
  const norm = (x: Row, g: Row): Row => {
    const root = Math.sqrt(dot(x, x) / x.length + normEpsilon);
    return x.map((value, i) => (value / root) * g[i]);
  };
  const turn = (head: Row, position: number): Row => {
    if (spec.positions.kind === "alibi") return head;
    const { base, layout, rotatedWidth } = spec.positions;
    const out = [...head];
    for (let i = 0; i < rotatedWidth / 2; i++) {
      const angle = position / base ** ((2 * i) / rotatedWidth);
      const [a, b] = layout === "interleaved" ? [2 * i, 2 * i + 1] : [i, i + rotatedWidth / 2];
      out[a] = head[a] * Math.cos(angle) - head[b] * Math.sin(angle);
      out[b] = head[b] * Math.cos(angle) + head[a] * Math.sin(angle);
    }
    return out;
  };
  const headsOf = async (x: Row, count: number, weight: Weight | null, position: number): Promise<Matrix> => {
    const g = weight ? await vector(weight) : null;
    return Array.from({ length: count }, (_, h) => {
      const head = x.slice(h * D, (h + 1) * D);
      return turn(g ? norm(head, g) : head, position);
    });
  };

  const embedding = await matrix(model.embedding);
  const slopes = naiveSlopes(H);
  let stream = ids.map((id) => embedding[id]);
  for (const layer of model.layers) {
    const keys: Matrix[] = [];
    const values: Row[] = [];
    const queries: Matrix[] = [];
    for (const [t, x] of stream.entries()) {
      const h = norm(x, await vector(layer.attentionNorm));
      queries.push(await headsOf(await product(layer.q, h), H, layer.queryNorm, t));
      keys.push(await headsOf(await product(layer.k, h), G, layer.keyNorm, t));
      values.push(await product(layer.v, h));
    }
    const next: Matrix = [];
    for (const [t, x] of stream.entries()) {
      const seen = keys.filter((_, s) => s <= t || (t < promptLength && s < promptLength));
      const mixed = queries[t].flatMap((query, head) => {
        const group = Math.floor((head * G) / H);
        const scores = seen.map((key, s) => {
          const penalty = spec.positions.kind === "alibi" ? slopes[head] * Math.abs(t - s) : 0;
          return Math.exp(dot(query, key[group]) / Math.sqrt(D) - penalty);
        });
        const total = scores.reduce((a, b) => a + b, 0);
        return Array.from({ length: D }, (_, d) =>
          scores.reduce((sum, score, s) => sum + (score / total) * values[s][group * D + d], 0),
        );
      });
      const attended = await product(layer.output, mixed);
      const middle = x.map((value, c) => value + attended[c]);
      const h2 = norm(middle, await vector(layer.feedForwardNorm));
      const gate = await product(layer.gate, h2);
      const up = await product(layer.up, h2);
      const down = await product(
        layer.down,
        gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]),
      );
      next.push(middle.map((value, c) => value + down[c]));
    }
    stream = next;
  }
  const finalNorm = await vector(model.finalNorm);
  const rows = await matrix(model.head.weight);
  const head = normalizesHead ? rows.map((row) => row.map((value) => value / Math.sqrt(dot(row, row)))) : rows;
  return stream.map((x) => head.map((row) => dot(row, norm(x, finalNorm))));
}
