import type { RawMatrix, RawType, Weight, WeightSpec } from "./backend.ts";
import { checkWeightSpec } from "./check.ts";
import type { Engine } from "./native/addon.ts";
import { type NativeMemory, NativeWeight, STORAGES } from "./native/memory.ts";

// Weights that come from files in runs of rows: the checks that all backends share, and what the two of them do with the rows.

/** In the order of native/rows/raw_rows.h. */
const TYPES: readonly RawType[] = ["F32", "F16", "BF16"];
/** Runs start at blocks of the native layout. */
const RUN_ROWS = 32;

/** How many rows a run has; throws an Error where it is none that may follow `done` rows. */
function rowsOfRun({ name, rows, columns }: WeightSpec, type: RawType, run: Uint8Array, done: number): number {
  const rowBytes = columns * (type === "F32" ? 4 : 2);
  const count = run.byteLength / rowBytes;
  const where = `weightFromRuns: "${name}" [${rows},${columns}] gets`;
  if (count === 0 || !Number.isInteger(count) || done + count > rows) {
    throw new Error(
      `${where} ${run.byteLength} bytes after ${done} rows, expected rows of ${rowBytes} bytes up to row ${rows}.`,
    );
  }
  if (count % RUN_ROWS !== 0 && done + count !== rows) {
    throw new Error(`${where} a run of ${count} rows, expected a multiple of ${RUN_ROWS} before the last run.`);
  }
  return count;
}

function expectAllRows({ name, rows, columns }: WeightSpec, done: number): void {
  if (done !== rows) throw new Error(`weightFromRuns: "${name}" [${rows},${columns}] got ${done} of its rows.`);
}

/** The values of a matrix, row-major, as the reference keeps them. */
export async function valuesOfRuns(spec: WeightSpec, { type, runs, normalized }: RawMatrix): Promise<Float32Array> {
  checkWeightSpec(spec);
  const { rows, columns } = spec;
  const values = new Float32Array(rows * columns);
  let done = 0;
  for await (const run of runs) {
    const count = rowsOfRun(spec, type, run, done);
    const view = new DataView(run.buffer, run.byteOffset, run.byteLength);
    for (let i = 0; i < count * columns; i++) values[done * columns + i] = elementAt(view, type, i);
    done += count;
  }
  expectAllRows(spec, done);
  if (normalized) {
    for (let start = 0; start < values.length; start += columns) {
      const row = values.subarray(start, start + columns);
      // As torch.nn.functional.normalize bounds it.
      const length = Math.max(Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)), 1e-12);
      for (let i = 0; i < columns; i++) row[i] /= length;
    }
  }
  return values;
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

/** Hands the runs to the addon as they are: while it takes one, the next is fetched. */
export async function nativeWeightFromRuns(
  engine: Engine,
  memory: NativeMemory,
  spec: WeightSpec,
  { type, runs, normalized = false }: RawMatrix,
): Promise<Weight> {
  memory.expectOpen("weightFromRuns");
  checkWeightSpec(spec);
  const { rows, columns, storage, trainable } = spec;
  const handle = engine.weight(undefined, rows, columns, STORAGES.indexOf(storage), trainable);
  const weight = memory.addWeight(new NativeWeight(handle, spec));
  let done = 0;
  let taken = Promise.resolve();
  try {
    for await (const run of runs) {
      const count = rowsOfRun(spec, type, run, done);
      await taken;
      taken = engine.writeRows(handle, run, TYPES.indexOf(type), normalized);
      // Whoever waits for it next hears of a failure; until then it must not count as unheard.
      taken.catch(() => {});
      done += count;
    }
    await taken;
    expectAllRows(spec, done);
  } catch (error) {
    await taken.catch(() => {});
    memory.removeWeight(weight);
    engine.freeWeight(handle);
    throw error;
  }
  return weight;
}
