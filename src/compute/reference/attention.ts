import type { AttentionSegment, AttentionSpec, Rotation, Values } from "../backend.ts";
import { keyPositions, keySpans, ownKeysSeen, queryPositions } from "../segments.ts";
import type { Matrix } from "./products.ts";
import { rotary } from "./rows.ts";

// Attention of the reference backend: computes every score of every row, to show the rules of a segment.

/** The keys that a segment sees, context first, with their sequence positions. A row sees the first of them. */
function visibleKeys(segment: AttentionSegment): { rows: number[]; positions: number[]; contextLength: number } {
  const rows: number[] = [];
  const positions: number[] = [];
  for (const { start, length, position } of keySpans(segment)) {
    for (let j = 0; j < length; j++) {
      rows.push(start + j);
      positions.push(position + j);
    }
  }
  return { rows, positions, contextLength: rows.length - segment.length };
}

/** Rotates gradients of rotated queries and keys back, in place. */
function rotateBack(
  { q, k }: { q: Matrix; k: Matrix },
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  rotation: Rotation,
): void {
  const back = (x: Matrix, positions: Int32Array, heads: number) => {
    const before = { ...x, data: x.data.slice() };
    rotary(before, positions, { ...rotation, heads, headWidth: spec.headWidth }, -1, x.data);
  };
  back(q, queryPositions(segments, q.rows), spec.heads);
  back(k, keyPositions(segments, k.rows), spec.keyValueHeads);
}

/** One query row and head: where its vectors start, the key rows it sees and its softmax over them. */
interface Attended {
  query: number; // start of the head's D numbers in q
  row: number;
  head: number;
  keyColumn: number; // column in k and v where the key/value head starts
  keyRows: readonly number[];
  probabilities: Float64Array; // first `count` are in use
  count: number;
  logSumExp: number;
}

/** Visits every query row and head of every segment. The visited object is reused. */
function attendAll(
  q: Matrix,
  k: Matrix,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  visit: (attended: Attended) => void,
): void {
  const { heads, headWidth, scale, slopes } = spec;
  const headsPerKey = heads / spec.keyValueHeads;
  for (const segment of segments) {
    const { rows, positions, contextLength } = visibleKeys(segment);
    const probabilities = new Float64Array(rows.length);
    for (let i = 0; i < segment.length; i++) {
      const count = contextLength + ownKeysSeen(segment, i);
      for (let h = 0; h < heads; h++) {
        const row = segment.start + i;
        const query = row * q.columns + h * headWidth;
        const keyColumn = Math.floor(h / headsPerKey) * headWidth;
        let largest = Number.NEGATIVE_INFINITY;
        for (let j = 0; j < count; j++) {
          const key = rows[j] * k.columns + keyColumn;
          let score = 0;
          for (let d = 0; d < headWidth; d++) score += q.data[query + d] * k.data[key + d];
          score *= scale;
          if (slopes) score -= slopes[h] * Math.abs(segment.position + i - positions[j]);
          probabilities[j] = score;
          largest = Math.max(largest, score);
        }
        let total = 0;
        for (let j = 0; j < count; j++) {
          probabilities[j] = Math.exp(probabilities[j] - largest);
          total += probabilities[j];
        }
        for (let j = 0; j < count; j++) probabilities[j] /= total;
        const logSumExp = largest + Math.log(total);
        visit({ query, row, head: h, keyColumn, keyRows: rows, probabilities, count, logSumExp });
      }
    }
  }
}

/** output[T,H·D] and logSumExp[T,H], both zero in rows outside of all segments. */
export function attention(
  q: Matrix,
  k: Matrix,
  v: Matrix,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  output: Values,
  logSumExp: Values,
): void {
  attendAll(q, k, segments, spec, (attended) => {
    const { query, keyColumn, keyRows, probabilities, count } = attended;
    for (let d = 0; d < spec.headWidth; d++) {
      let sum = 0;
      for (let j = 0; j < count; j++) sum += probabilities[j] * v.data[keyRows[j] * v.columns + keyColumn + d];
      output[query + d] = sum;
    }
    logSumExp[attended.row * spec.heads + attended.head] = attended.logSumExp;
  });
}

/** With probabilities p and dp = dOutput · v: dv += p · dOutput, dScore = p · (dp − Σ p · dp), dq += dScore · scale · k and so on. */
export function attentionBackward(
  forward: { q: Matrix; k: Matrix; v: Matrix },
  dOutput: Matrix,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  gradients: { dq: Values; dk: Values; dv: Values },
  rotation: Rotation | null,
): void {
  const { q, k, v } = forward;
  const { headWidth, scale } = spec;
  const dq = new Float64Array(q.data.length);
  const dk = new Float64Array(k.data.length);
  const dv = new Float64Array(v.data.length);
  attendAll(q, k, segments, spec, ({ query, keyColumn, keyRows, probabilities, count }) => {
    const dProbabilities = new Float64Array(count);
    let mean = 0;
    for (let j = 0; j < count; j++) {
      const key = keyRows[j] * v.columns + keyColumn;
      for (let d = 0; d < headWidth; d++) dProbabilities[j] += dOutput.data[query + d] * v.data[key + d];
      mean += probabilities[j] * dProbabilities[j];
    }
    for (let j = 0; j < count; j++) {
      const key = keyRows[j] * k.columns + keyColumn;
      const dScore = probabilities[j] * (dProbabilities[j] - mean) * scale;
      for (let d = 0; d < headWidth; d++) {
        dv[key + d] += probabilities[j] * dOutput.data[query + d];
        dq[query + d] += dScore * k.data[key + d];
        dk[key + d] += dScore * q.data[query + d];
      }
    }
  });
  if (rotation) rotateBack({ q: { ...q, data: dq }, k: { ...k, data: dk } }, segments, spec, rotation);
  gradients.dq.set(dq);
  gradients.dk.set(dk);
  gradients.dv.set(dv);
}
