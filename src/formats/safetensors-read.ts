import { messageOf, showValue, UserError } from "../base/errors.ts";
import type { OpenFile } from "../base/folder.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { findDuplicateKey } from "../base/json-text.ts";
import { readBytes } from "./read-bytes.ts";
import { rowsInFile } from "./row-chunks.ts";
import { readSums } from "./safetensors-sums.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import {
  DTYPE_BYTES,
  decodeElements,
  elementCount,
  type StoredTensor,
  type TensorChecks,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
} from "./tensor-source.ts";

/** Limits on what a header may claim; real checkpoints stay far below. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_TENSORS = 200_000;
const MAX_DIMENSIONS = 8;

export interface SafetensorsFile extends TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo & { dtype: TensorDtype }>;
  readonly metadata: Readonly<Record<string, string>>;
}

interface Entry extends TensorInfo {
  dtype: TensorDtype;
  startByte: number;
  endByte: number;
}

/**
 * Reads an open safetensors file (8-byte little-endian header length, JSON header, tensor bytes) and checks every offset before it reads a
 * tensor: as in the format's own library, the tensors must fill the file without gap, overlap or rest. Throws a UserError that names the
 * file, the tensor and the broken bound; also for a file with checksums whose header or, once it is read, whose tensor has another one. Closes
 * the file when it fails.
 */
export async function readSafetensors(
  { handle, sizeBytes }: OpenFile,
  file: string,
  checks: TensorChecks = createTensorChecks(),
): Promise<SafetensorsFile> {
  try {
    if (sizeBytes < 8) throw new UserError(`${file}: has ${sizeBytes} bytes, too short for a safetensors file.`);
    const length = await readBytes(handle, file, 0, Math.min(sizeBytes, 24));
    expectNoLfsPointer(file, length, "the weights themselves");
    const headerBytes = Number(new DataView(length.buffer, length.byteOffset).getBigUint64(0, true));
    if (headerBytes > MAX_HEADER_BYTES || 8 + headerBytes > sizeBytes) {
      throw new UserError(
        `${file}: the header claims ${headerBytes} bytes, but the file has ${sizeBytes} (limit ${MAX_HEADER_BYTES}).`,
        { hint: "The file was cut short or is not a safetensors file; download it again." },
      );
    }
    const dataStart = 8 + headerBytes;
    const start = await readBytes(handle, file, 0, dataStart);
    const { entries, metadata } = checkHeader(parseHeader(start.subarray(8), file), file, sizeBytes - dataStart);
    checks.header(file, start);
    const own = readSums(start, metadata, inOrderOfBytes(entries), file);
    if (own) checks.expect(own, "The file is damaged; restore it from a copy.");
    return {
      tensors: entries,
      checks,
      metadata,
      async read(name) {
        const entry = entries.get(name);
        if (!entry) throw new UserError(`${file}: tensor "${name}" is missing.`);
        const stored = storedTensor(entry);
        const bytes = await readBytes(handle, file, dataStart + entry.startByte, stored.sizeBytes);
        checks.part(stored, 0, bytes);
        checks.values(stored, entry.dtype, bytes);
        return decodeElements(bytes, entry.dtype);
      },
      rows(name) {
        const entry = entries.get(name);
        if (entry?.shape.length !== 2) return null;
        const [, columns] = entry.shape;
        const startByte = dataStart + entry.startByte;
        return rowsInFile({ handle, tensor: storedTensor(entry), columns, startByte, checks }, entry.dtype);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const storedTensor = ({ file, name, startByte, endByte }: Entry): StoredTensor => ({
  file,
  name,
  sizeBytes: endByte - startByte,
});

const inOrderOfBytes = (entries: ReadonlyMap<string, Entry>) =>
  [...entries.values()].sort((a, b) => a.startByte - b.startByte || a.endByte - b.endByte).map(({ name }) => name);

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseHeader(bytes: Uint8Array, file: string): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: the header is not JSON (${messageOf(error)}).`);
  }
  if (!isObject(header)) throw new UserError(`${file}: the header is ${showValue(header)}, expected a JSON object.`);
  const twice = findDuplicateKey(text);
  if (twice !== null) throw new UserError(`${file}: the header has ${showValue(twice)} twice.`);
  return header;
}

function checkHeader(header: Record<string, unknown>, file: string, dataBytes: number) {
  const names = Object.keys(header);
  if (names.length > MAX_TENSORS) {
    throw new UserError(`${file}: the header lists ${names.length} tensors, expected at most ${MAX_TENSORS}.`);
  }
  const entries = new Map<string, Entry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const name of names) {
    if (name === "__metadata__") metadata = checkMetadata(header[name], file);
    else entries.set(name, checkEntry(name, header[name], file, dataBytes));
  }
  let endByte = 0;
  let previous = "";
  for (const entry of [...entries.values()].sort((a, b) => a.startByte - b.startByte || a.endByte - b.endByte)) {
    if (entry.startByte < endByte) {
      throw new UserError(`${file}: tensors ${showValue(previous)} and ${showValue(entry.name)} overlap.`);
    }
    if (entry.startByte > endByte) {
      const gap = `bytes ${endByte} to ${entry.startByte} before tensor ${showValue(entry.name)}`;
      throw new UserError(`${file}: ${gap} belong to no tensor.`);
    }
    endByte = entry.endByte;
    previous = entry.name;
  }
  if (endByte < dataBytes) {
    throw new UserError(`${file}: ${dataBytes - endByte} bytes after the last tensor belong to no tensor.`, {
      hint: "The file was not written whole, or something was added to it; download it again.",
    });
  }
  return { entries, metadata };
}

function checkMetadata(value: unknown, file: string): Readonly<Record<string, string>> {
  if (isObject(value) && Object.values(value).every((text) => typeof text === "string")) {
    return value as Record<string, string>;
  }
  throw new UserError(`${file}: "__metadata__" is ${showValue(value)}, expected an object of strings.`);
}

function checkEntry(name: string, value: unknown, file: string, dataBytes: number): Entry {
  const at = `${file}: tensor ${showValue(name)}`;
  if (!isObject(value)) throw new UserError(`${at} is ${showValue(value)}, expected dtype, shape and data_offsets.`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    const known = Object.keys(DTYPE_BYTES).join(", ");
    throw new UserError(`${at} has element type ${showValue(dtype)}, expected one of ${known}.`);
  }
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isCount)) {
    throw new UserError(`${at} has shape ${showValue(shape)}, expected at most ${MAX_DIMENSIONS} sizes.`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw new UserError(`${at} has offsets ${showValue(offsets)}, expected [start, end].`);
  }
  const [startByte, endByte] = offsets as [number, number];
  const wantedBytes = elementCount(shape) * DTYPE_BYTES[dtype as TensorDtype];
  if (endByte - startByte !== wantedBytes) {
    throw new UserError(`${at} spans ${endByte - startByte} bytes, but ${dtype} [${shape}] needs ${wantedBytes}.`);
  }
  if (endByte > dataBytes) {
    throw new UserError(`${at} ends at byte ${endByte}, but the file holds ${dataBytes} bytes of tensors.`, {
      hint: "The file was cut short; download or copy it again.",
    });
  }
  return { name, dtype: dtype as TensorDtype, shape, file, startByte, endByte };
}
