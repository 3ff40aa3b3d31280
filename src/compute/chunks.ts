import type { RawMatrix, RawType, WeightSpec } from "./backend.ts";
import type { StreamedWeights, WeightOperand } from "./kernels.ts";

// Weights whose values come from a file in chunks of whole rows.

/** Layouts of weights have blocks of this number of rows, and a chunk starts at a block. */
const BLOCK_ROWS = 32;

/** The number of rows in a chunk; throws an Error for a chunk that cannot follow the first `done` rows. */
function rowsOfChunk({ name, rows, columns }: WeightSpec, type: RawType, chunk: Uint8Array, done: number): number {
  const rowBytes = columns * (type === "F32" ? 4 : 2);
  const count = chunk.byteLength / rowBytes;
  const where = `weightFromChunks: "${name}" [${rows},${columns}] gets`;
  if (count === 0 || !Number.isInteger(count) || done + count > rows) {
    throw new Error(
      `${where} ${chunk.byteLength} bytes after ${done} rows, expected rows of ${rowBytes} bytes up to row ${rows}.`,
    );
  }
  if (count % BLOCK_ROWS !== 0 && done + count !== rows) {
    throw new Error(`${where} a chunk of ${count} rows, expected a multiple of ${BLOCK_ROWS} before the last chunk.`);
  }
  return count;
}

function expectAllRows({ name, rows, columns }: WeightSpec, done: number): void {
  if (done !== rows) throw new Error(`weightFromChunks: "${name}" [${rows},${columns}] got ${done} of its rows.`);
}

/** The values of a matrix, row-major; throws an Error when rows are missing or too many. */
export async function valuesOfChunks(spec: WeightSpec, { type, chunks, normalized }: RawMatrix): Promise<Float32Array> {
  const { rows, columns } = spec;
  const values = new Float32Array(rows * columns);
  let done = 0;
  for await (const chunk of chunks) {
    const count = rowsOfChunk(spec, type, chunk, done);
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let i = 0; i < count * columns; i++) values[done * columns + i] = elementAt(view, type, i);
    done += count;
  }
  expectAllRows(spec, done);
  if (normalized) {
    for (let start = 0; start < values.length; start += columns) {
      const row = values.subarray(start, start + columns);
      // torch.nn.functional.normalize has this bound.
      const length = Math.max(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)), 1e-12);
      for (let i = 0; i < columns; i++) row[i] /= length;
    }
  }
  return values;
}

/** Writes chunks to a weight as they are: the next chunk is fetched while one is written. Throws as `valuesOfChunks` does. */
export async function streamChunks<E>(
  streamed: StreamedWeights<E>,
  weight: WeightOperand<E>,
  { type, chunks, normalized = false }: RawMatrix,
): Promise<void> {
  let done = 0;
  let written = Promise.resolve();
  try {
    for await (const chunk of chunks) {
      const count = rowsOfChunk(weight, type, chunk, done);
      await written;
      written = streamed.write(weight, chunk, type, normalized);
      // The next await reports a failure; until then Node must not treat it as unhandled.
      written.catch(() => {});
      done += count;
    }
    await written;
    expectAllRows(weight, done);
  } finally {
    await written.catch(() => {});
  }
}

function elementAt(view: DataView, type: RawType, index: number): number {
  if (type === "F32") return view.getFloat32(4 * index, true);
  const word = view.getUint16(2 * index, true);
  if (type === "F16") return float16(word);
  scratch.setUint32(0, word << 16);
  return scratch.getFloat32(0);
}
const scratch = new DataView(new ArrayBuffer(4));

/** IEEE 754 binary16. */
function float16(word: number): number {
  const sign = word & 0x8000 ? -1 : 1;
  const exponent = (word >> 10) & 31;
  const fraction = word & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}
