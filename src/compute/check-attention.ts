import type { AttentionSegment, AttentionSpec } from "./backend.ts";
import {
  checkRotatedWidth,
  checkScale,
  expectColumns,
  expectNumber,
  expectShape,
  type Shaped,
  shapeOf,
} from "./check.ts";
import { keySpans } from "./segments.ts";

// The argument checks of attention: shapes, and the rows that segments name.

function checkAttentionShapes(operation: string, q: Shaped, k: Shaped, v: Shaped, spec: AttentionSpec): void {
  const { heads, keyValueHeads, headWidth, slopes } = spec;
  for (const [name, value] of Object.entries({ heads, keyValueHeads, headWidth })) {
    expectNumber(operation, name, value, Number.isInteger(value) && value > 0, "a positive whole number");
  }
  expectNumber(operation, "keyValueHeads", keyValueHeads, heads % keyValueHeads === 0, `a divisor of ${heads} heads`);
  checkScale(operation, spec.scale);
  expectColumns(operation, "q", q, heads * headWidth, `${heads} heads of width ${headWidth}`);
  expectColumns(operation, "k", k, keyValueHeads * headWidth, `${keyValueHeads} key heads of width ${headWidth}`);
  expectShape(operation, "v", v, k.rows, k.columns, "as k");
  if (slopes && slopes.length !== heads) {
    throw new Error(`${operation}: ${slopes.length} slopes, expected one for each of ${heads} heads.`);
  }
}

function checkSpan(
  operation: string,
  name: string,
  start: number,
  length: number,
  minimum: number,
  rows: number,
): void {
  const fits = Number.isInteger(start) && Number.isInteger(length) && start >= 0 && length >= minimum;
  if (!fits || start + length > rows) {
    throw new Error(
      `${operation}: ${name} has start ${start} and length ${length}, expected at least ${minimum} row inside ${rows} rows.`,
    );
  }
}

/** Segments have at least one row each, are inside q and k, and share no query row. */
export function checkAttention(
  q: Shaped,
  k: Shaped,
  v: Shaped,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
  operation = "attention",
): void {
  checkAttentionShapes(operation, q, k, v, spec);
  if (spec.rotary) checkRotatedWidth(operation, spec.rotary, spec.headWidth);
  const taken = new Uint8Array(q.rows);
  segments.forEach((segment, s) => {
    checkSpan(operation, `segment ${s}`, segment.start, segment.length, 1, q.rows);
    checkSpan(operation, `the keys of segment ${s}`, segment.keyStart, segment.length, 1, k.rows);
    expectNumber(
      operation,
      `position of segment ${s}`,
      segment.position,
      isPosition(segment.position),
      "a whole number",
    );
    const { length, bidirectional = 0 } = segment;
    expectNumber(
      operation,
      `bidirectional of segment ${s}`,
      bidirectional,
      Number.isInteger(bidirectional) && bidirectional >= 0 && bidirectional <= length,
      `a whole number up to its ${length} rows`,
    );
    segment.context.forEach((span, c) => {
      checkSpan(operation, `context span ${c} of segment ${s}`, span.start, span.length, 0, k.rows);
      expectNumber(
        operation,
        `position of context span ${c}`,
        span.position,
        isPosition(span.position),
        "a whole number",
      );
    });
    for (let row = segment.start; row < segment.start + segment.length; row++) {
      if (taken[row]) throw new Error(`${operation}: query row ${row} is in two segments, expected one at most.`);
      taken[row] = 1;
    }
  });
}

/** Every key row has one position, whichever segment sees it. */
function checkKeyPositions(operation: string, k: Shaped, segments: readonly AttentionSegment[]): void {
  const positions = new Float64Array(k.rows).fill(Number.NaN);
  for (const { start, length, position } of segments.flatMap(keySpans)) {
    for (let i = 0; i < length; i++) {
      const [before, here] = [positions[start + i], position + i];
      if (before !== here && !Number.isNaN(before)) {
        throw new Error(`${operation}: key row ${start + i} has positions ${before} and ${here}, expected one.`);
      }
      positions[start + i] = here;
    }
  }
}
const isPosition = (position: number) => Number.isInteger(position) && Math.abs(position) <= 2 ** 30;

export function checkAttentionBackward(
  forward: { q: Shaped; k: Shaped; v: Shaped; output: Shaped; logSumExp: Shaped },
  dOutput: Shaped,
  segments: readonly AttentionSegment[],
  spec: AttentionSpec,
): void {
  const operation = "attentionBackward";
  const { q, k, v, output, logSumExp } = forward;
  checkAttention(q, k, v, segments, spec, operation);
  if (spec.rotary) checkKeyPositions(operation, k, segments);
  expectShape(operation, "output", output, q.rows, q.columns, "as q");
  expectShape(operation, "dOutput", dOutput, q.rows, q.columns, "as q");
  expectShape(operation, "logSumExp", logSumExp, q.rows, spec.heads, `q ${shapeOf(q)}, ${spec.heads} heads`);
}
