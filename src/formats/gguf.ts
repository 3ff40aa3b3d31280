import type { FileHandle } from "node:fs/promises";
import { showValue, UserError } from "../base/errors.ts";
import { openToRead } from "../base/files.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { GGUF_TYPES, type GgufType, OTHER_GGUF_TYPES } from "./gguf-blocks.ts";
import {
  type GgufHeader,
  type GgufTensorHeader,
  type GgufValue,
  MoreBytesNeeded,
  readGgufHeader,
} from "./gguf-header.ts";
import { readBytes } from "./read-bytes.ts";
import { decodedRowsInFile, rowsInFile } from "./row-chunks.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import { elementCount, type TensorDtype, type TensorInfo, type TensorSource } from "./tensor-source.ts";

const FIRST_BYTES = 1 << 20;
const MAX_HEADER_BYTES = 128 * 2 ** 20;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1 << 20;
/** The types stored element by element, not in blocks. */
const ROW_TYPES: readonly TensorDtype[] = ["F32", "F16", "BF16"];

export interface GgufFile extends TensorSource {
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

interface Entry extends TensorInfo {
  type: GgufType;
  startByte: number;
  sizeBytes: number;
}

/**
 * Opens a GGUF file (github.com/ggml-org/ggml, docs/gguf.md) and checks every count, size and offset before it reads a tensor; reading
 * expands blocks of few bits. Shapes are row-major as everywhere in this program, the reverse of the file's. Throws a UserError that names
 * the file, the item and the broken bound.
 */
export async function openGguf(file: string): Promise<GgufFile> {
  const { handle, sizeBytes } = await openToRead(file, "a GGUF file");
  try {
    expectNoLfsPointer(file, await readBytes(handle, file, 0, Math.min(sizeBytes, 24)), "the model itself");
    const { header, bytes } = await readHeader(handle, file, sizeBytes);
    const tensors = checkTensors(header, file, sizeBytes);
    const checks = createTensorChecks();
    checks.header(file, bytes.subarray(0, header.headerBytes));
    return {
      tensors,
      checks,
      metadata: header.metadata,
      async read(name) {
        const entry = tensors.get(name);
        if (!entry) throw new UserError(`${file}: tensor "${name}" is missing.`);
        const stored = await readBytes(handle, file, entry.startByte, entry.sizeBytes);
        checks.part(entry, 0, stored);
        const values = entry.type.decode(stored);
        checks.values(entry, "F32", new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
        return values;
      },
      rows(name) {
        const entry = tensors.get(name);
        if (entry?.shape.length !== 2) return null;
        const { type, startByte, sizeBytes, shape } = entry;
        const [rows, columns] = shape;
        const dtype = ROW_TYPES.find((one) => one === entry.dtype);
        const matrix = { handle, tensor: entry, columns, startByte, checks };
        if (dtype) return rowsInFile(matrix, dtype);
        return decodedRowsInFile(matrix, sizeBytes / rows, type.decode);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads more of the file until it holds the header, whose length is stated nowhere. */
async function readHeader(
  handle: FileHandle,
  file: string,
  sizeBytes: number,
): Promise<{ header: GgufHeader; bytes: Uint8Array }> {
  for (let length = Math.min(FIRST_BYTES, sizeBytes); ; length = Math.min(length * 16, sizeBytes, MAX_HEADER_BYTES)) {
    const bytes = await readBytes(handle, file, 0, length);
    try {
      return { header: readGgufHeader(bytes, file, sizeBytes), bytes };
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error;
      if (length < MAX_HEADER_BYTES) continue;
      throw new UserError(`${file}: the header has more than ${MAX_HEADER_BYTES} bytes.`);
    }
  }
}

function checkTensors(header: GgufHeader, file: string, sizeBytes: number): Map<string, Entry> {
  const alignment = header.metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  const isPower = typeof alignment === "number" && Number.isInteger(Math.log2(alignment)) && alignment >= 1;
  if (!isPower || alignment > MAX_ALIGNMENT) {
    throw new UserError(
      `${file}: "general.alignment" is ${showValue(alignment)}, expected a power of two up to ${MAX_ALIGNMENT}.`,
    );
  }
  const dataStart = Math.ceil(header.headerBytes / alignment) * alignment;
  const entries = new Map<string, Entry>();
  for (const tensor of header.tensors) {
    const entry = checkTensor(tensor, file, alignment, dataStart);
    const end = entry.startByte + entry.sizeBytes;
    if (end > sizeBytes) {
      throw new UserError(
        `${file}: tensor ${showValue(tensor.name)} ends at byte ${end}, but the file has ${sizeBytes}.`,
        { hint: "The file was cut short; download or copy it again." },
      );
    }
    if (entries.has(tensor.name)) throw new UserError(`${file}: tensor ${showValue(tensor.name)} occurs twice.`);
    entries.set(tensor.name, entry);
  }
  let endByte = 0;
  let previous = "";
  for (const entry of [...entries.values()].sort((a, b) => a.startByte - b.startByte)) {
    if (entry.startByte < endByte) {
      throw new UserError(`${file}: tensors ${showValue(previous)} and ${showValue(entry.name)} overlap.`);
    }
    endByte = entry.startByte + entry.sizeBytes;
    previous = entry.name;
  }
  return entries;
}

function checkTensor(tensor: GgufTensorHeader, file: string, alignment: number, dataStart: number): Entry {
  const { name, sizes, typeCode, offset } = tensor;
  const at = `${file}: tensor ${showValue(name)}`;
  const type = GGUF_TYPES.find(({ code }) => code === typeCode);
  if (!type) {
    const known = GGUF_TYPES.map(({ dtype }) => dtype).join(", ");
    const got = OTHER_GGUF_TYPES[typeCode] ?? `number ${typeCode}`;
    throw new UserError(`${at} has element type ${got}, expected one of ${known}.`, {
      hint: "Convert the model to one of these, Q8_0 or larger for training on it.",
    });
  }
  const elements = elementCount(sizes);
  if (!sizes.every((size) => size >= 1) || !Number.isSafeInteger(elements)) {
    throw new UserError(`${at} has sizes [${sizes}], expected sizes from 1 up.`);
  }
  if ((sizes[0] ?? 1) % type.blockElements !== 0) {
    throw new UserError(`${at} has rows of ${sizes[0] ?? 1} elements, ${type.dtype} needs ${type.blockElements}s.`);
  }
  if (offset % alignment !== 0) {
    throw new UserError(`${at} begins at byte ${offset} of the data, expected a multiple of ${alignment}.`);
  }
  const sizeBytes = (elements / type.blockElements) * type.blockBytes;
  const shape = [...sizes].reverse();
  return { name, dtype: type.dtype, shape, file, type, startByte: dataStart + offset, sizeBytes };
}
