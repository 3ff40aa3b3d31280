import type { FileHandle } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import { MAX_READ_BYTES, readInto } from "./read-bytes.ts";
import { DTYPE_BYTES, type RunBuffers, type TensorDtype, type TensorRows } from "./tensor-source.ts";

/** Whoever takes runs wants so many rows at once, or a multiple of them. */
const RUN_ROWS = 32;
/** A system call carries enough, and what was read is still in the processor's cache when it is used. */
const RUN_BYTES = 1 << 22;

export function createRunBuffers(): RunBuffers {
  const kept = [Buffer.alloc(0), Buffer.alloc(0)];
  return (turn, bytes) => {
    if (kept[turn % 2].length < bytes) kept[turn % 2] = Buffer.allocUnsafeSlow(bytes);
    return kept[turn % 2].subarray(0, bytes);
  };
}

const runRowsFor = (rowBytes: number) => RUN_ROWS * Math.max(1, Math.floor(RUN_BYTES / (RUN_ROWS * rowBytes)));

/** A matrix that stands in a file row by row, from `startByte` on. Reading throws a UserError when the file ends before. */
export function rowsInFile(
  handle: FileHandle,
  file: string,
  dtype: TensorDtype,
  columns: number,
  startByte: number,
): TensorRows {
  const rowBytes = columns * DTYPE_BYTES[dtype];
  const runRows = runRowsFor(rowBytes);
  return {
    dtype,
    async *runs(start, end, buffers) {
      if (runRows * rowBytes > MAX_READ_BYTES) {
        throw new UserError(
          `${file}: has rows of ${rowBytes} bytes, expected ${RUN_ROWS} in at most ${MAX_READ_BYTES} bytes.`,
        );
      }
      for (let row = start, turn = 0; row < end; row += runRows, turn++) {
        const run = buffers(turn, Math.min(runRows, end - row) * rowBytes);
        await readInto(handle, file, startByte + row * rowBytes, run);
        yield run;
      }
    },
  };
}

/** A matrix that stands in a file row by row in another form, of `storedBytes` a row, which `decode` makes numbers of. */
export function decodedRowsInFile(
  handle: FileHandle,
  file: string,
  columns: number,
  startByte: number,
  storedBytes: number,
  decode: (bytes: Uint8Array) => Float32Array,
): TensorRows {
  const runRows = runRowsFor(DTYPE_BYTES.F32 * columns);
  return {
    dtype: "F32",
    async *runs(start, end, buffers) {
      for (let row = start, turn = 0; row < end; row += runRows, turn++) {
        const run = buffers(turn, Math.min(runRows, end - row) * storedBytes);
        await readInto(handle, file, startByte + row * storedBytes, run);
        yield bytesOf(decode(run));
      }
    },
  };
}

/** A matrix whose values are there already. */
export function rowsOfValues(values: Float32Array, columns: number): TensorRows {
  const runRows = runRowsFor(DTYPE_BYTES.F32 * columns);
  return {
    dtype: "F32",
    async *runs(start, end) {
      for (let row = start; row < end; row += runRows) {
        yield bytesOf(values.subarray(row * columns, Math.min(row + runRows, end) * columns));
      }
    },
  };
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
