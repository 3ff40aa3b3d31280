import { UserError } from "../base/errors.ts";
import type { ReadableFile } from "../base/folder.ts";
import { MAX_READ_BYTES, readInto } from "./read-bytes.ts";
import {
  type ChunkBuffers,
  DTYPE_BYTES,
  type StoredTensor,
  type TensorChecks,
  type TensorDtype,
  type TensorRows,
} from "./tensor-source.ts";

/** The compute backends accept rows in multiples of this. */
const CHUNK_ROWS = 32;
/** Large enough for a system call to pay off, small enough to stay in the processor's cache until it is used. */
const CHUNK_BYTES = 1 << 22;

/** Two buffers that alternate. */
export function createChunkBuffers(): ChunkBuffers {
  const kept = [new Uint8Array(0), new Uint8Array(0)];
  return (index, bytes) => {
    if (kept[index % 2].length < bytes) kept[index % 2] = new Uint8Array(bytes);
    return kept[index % 2].subarray(0, bytes);
  };
}

const chunkRowsFor = (rowBytes: number) => CHUNK_ROWS * Math.max(1, Math.floor(CHUNK_BYTES / (CHUNK_ROWS * rowBytes)));

/** A matrix in a file. */
export interface MatrixInFile {
  handle: ReadableFile;
  tensor: StoredTensor;
  columns: number;
  /** Where its first row begins. */
  startByte: number;
  checks: TensorChecks;
}

/** A matrix that a file holds row by row. Reading throws a UserError when the file ends early, and for a number that is not finite. */
export function rowsInFile(
  { handle, tensor, columns, startByte, checks }: MatrixInFile,
  dtype: TensorDtype,
): TensorRows {
  const { file } = tensor;
  const rowBytes = columns * DTYPE_BYTES[dtype];
  const chunkRows = chunkRowsFor(rowBytes);
  return {
    dtype,
    async *chunks(start, end, buffers) {
      if (chunkRows * rowBytes > MAX_READ_BYTES) {
        throw new UserError(
          `${file}: has rows of ${rowBytes} bytes, expected ${CHUNK_ROWS} in at most ${MAX_READ_BYTES} bytes.`,
        );
      }
      for (let row = start, index = 0; row < end; row += chunkRows, index++) {
        const chunk = buffers(index, Math.min(chunkRows, end - row) * rowBytes);
        await readInto(handle, file, startByte + row * rowBytes, chunk);
        checks.part(tensor, row * rowBytes, chunk);
        checks.values(tensor, dtype, chunk, row * columns);
        yield chunk;
      }
    },
  };
}

/** A matrix that a file holds row by row in another form, `storedBytes` a row; `decode` turns that into numbers. */
export function decodedRowsInFile(
  { handle, tensor, columns, startByte, checks }: MatrixInFile,
  storedBytes: number,
  decode: (bytes: Uint8Array) => Float32Array,
): TensorRows {
  const chunkRows = chunkRowsFor(DTYPE_BYTES.F32 * columns);
  return {
    dtype: "F32",
    async *chunks(start, end, buffers) {
      for (let row = start, index = 0; row < end; row += chunkRows, index++) {
        const chunk = buffers(index, Math.min(chunkRows, end - row) * storedBytes);
        await readInto(handle, tensor.file, startByte + row * storedBytes, chunk);
        checks.part(tensor, row * storedBytes, chunk);
        const values = bytesOf(decode(chunk));
        checks.values(tensor, "F32", values, row * columns);
        yield values;
      }
    },
  };
}

/** A matrix whose values are in memory. */
export function rowsOfValues(values: Float32Array, columns: number): TensorRows {
  const chunkRows = chunkRowsFor(DTYPE_BYTES.F32 * columns);
  return {
    dtype: "F32",
    async *chunks(start, end) {
      for (let row = start; row < end; row += chunkRows) {
        yield bytesOf(values.subarray(row * columns, Math.min(row + chunkRows, end) * columns));
      }
    },
  };
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
