import { type FileHandle, open } from "node:fs/promises";
import { messageOf, UserError } from "../base/errors.ts";
import { fileSizeBytes, writeAtomic } from "../base/files.ts";
import {
  DTYPE_BYTES,
  decodeElements,
  elementCount,
  encodeElements,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
  type TensorToWrite,
} from "./tensor-source.ts";

/** Limits on what a header may claim; real checkpoints stay far below. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_TENSORS = 200_000;
const MAX_DIMENSIONS = 8;
/** One read call of Node takes at most 2^31 − 1 bytes. */
const READ_CHUNK_BYTES = 1 << 28;

export interface SafetensorsFile extends TensorSource {
  readonly metadata: Readonly<Record<string, string>>;
}

interface Entry extends TensorInfo {
  startByte: number;
  endByte: number;
}

/**
 * Opens a safetensors file (8-byte little-endian header length, JSON header, tensor bytes) and checks every offset before anything is
 * read. Throws a UserError that names the file, the tensor and the bound that was broken.
 */
export async function openSafetensors(file: string): Promise<SafetensorsFile> {
  const sizeBytes = await fileSizeBytes(file, "a safetensors file");
  if (sizeBytes < 8) throw new UserError(`${file}: has ${sizeBytes} bytes, too short for a safetensors file.`);
  const handle = await open(file);
  try {
    const length = (await readBytes(handle, file, 0, 8)) as Buffer;
    const headerBytes = Number(length.readBigUInt64LE(0));
    if (headerBytes > MAX_HEADER_BYTES || 8 + headerBytes > sizeBytes) {
      throw new UserError(
        `${file}: the header claims ${headerBytes} bytes, but the file has ${sizeBytes} (limit ${MAX_HEADER_BYTES}).`,
        { hint: "The file was cut short or is not a safetensors file; download it again." },
      );
    }
    const header = parseHeader(await readBytes(handle, file, 8, headerBytes), file);
    const { entries, metadata } = checkHeader(header, file, sizeBytes - 8 - headerBytes);
    const dataStart = 8 + headerBytes;
    return {
      tensors: entries,
      metadata,
      async read(name) {
        const entry = entries.get(name);
        if (!entry) throw new UserError(`${file}: tensor "${name}" is missing.`);
        const bytes = await readBytes(handle, file, dataStart + entry.startByte, entry.endByte - entry.startByte);
        return decodeElements(bytes, entry.dtype);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function parseHeader(bytes: Uint8Array, file: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new UserError(`${file}: the header is not JSON (${messageOf(error)}).`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new UserError(`${file}: the header is not a JSON object.`);
  }
  return header as Record<string, unknown>;
}

function checkHeader(header: Record<string, unknown>, file: string, dataBytes: number) {
  const names = Object.keys(header);
  if (names.length > MAX_TENSORS) {
    throw new UserError(`${file}: the header lists ${names.length} tensors, expected at most ${MAX_TENSORS}.`);
  }
  const entries = new Map<string, Entry>();
  let metadata: Record<string, string> = {};
  for (const name of names) {
    if (name === "__metadata__") {
      metadata = Object.fromEntries(Object.entries(header[name] ?? {}).map(([key, value]) => [key, String(value)]));
      continue;
    }
    entries.set(name, checkEntry(name, header[name], file, dataBytes));
  }
  let previous: Entry | null = null;
  for (const entry of [...entries.values()].sort((a, b) => a.startByte - b.startByte || a.endByte - b.endByte)) {
    if (previous && entry.startByte < previous.endByte) {
      throw new UserError(`${file}: tensors "${previous.name}" and "${entry.name}" overlap.`);
    }
    previous = entry;
  }
  return { entries, metadata };
}

function checkEntry(name: string, value: unknown, file: string, dataBytes: number): Entry {
  const at = `${file}: tensor "${name}"`;
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw new UserError(`${at} has element type ${JSON.stringify(dtype)}, expected one of F32, F16, BF16.`);
  }
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isCount)) {
    throw new UserError(`${at} has shape ${JSON.stringify(shape)}, expected at most ${MAX_DIMENSIONS} sizes.`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw new UserError(`${at} has offsets ${JSON.stringify(offsets)}, expected [start, end].`);
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

/** Reads exactly `length` bytes, in parts that one system call can carry. */
export async function readBytes(handle: FileHandle, file: string, start: number, length: number): Promise<Uint8Array> {
  const out = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(out, done, Math.min(READ_CHUNK_BYTES, length - done), start + done);
    if (bytesRead === 0) throw new UserError(`${file}: ends at byte ${start + done}, expected ${start + length}.`);
    done += bytesRead;
  }
  return out;
}

/** Writes a safetensors file beside its name and renames it; tensors are asked for their values one at a time. */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Record<string, string> = { format: "pt" },
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + elementCount(tensor.shape) * DTYPE_BYTES[tensor.dtype];
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  // The header is padded with spaces so that tensor bytes start 8-byte aligned, as the format asks.
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]);
  await writeAtomic(file, async (handle) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(padded.length));
    await handle.write(length);
    await handle.write(padded);
    for (const tensor of tensors) {
      const values = await tensor.values();
      const wanted = elementCount(tensor.shape);
      if (values.length !== wanted) {
        throw new Error(`${file}: "${tensor.name}" has ${values.length} values, expected [${tensor.shape}].`);
      }
      const bytes = encodeElements(values, tensor.dtype);
      for (let done = 0; done < bytes.length; done += READ_CHUNK_BYTES) {
        await handle.write(bytes.subarray(done, Math.min(bytes.length, done + READ_CHUNK_BYTES)));
      }
    }
  });
}
