import { openToRead, writeAtomic, writeFully } from "../base/files.ts";
import { crc32 } from "./crc32.ts";
import { readSafetensors, type SafetensorsFile } from "./safetensors-read.ts";
import { emptySums, fillSums } from "./safetensors-sums.ts";
import { DTYPE_BYTES, elementCount, encodeElements, type TensorChecks, type TensorToWrite } from "./tensor-source.ts";

/** Opens a safetensors file; see {@link readSafetensors}. */
export async function openSafetensors(file: string, checks?: TensorChecks): Promise<SafetensorsFile> {
  return readSafetensors(await openToRead(file, "a safetensors file"), file, checks);
}

export interface SafetensorsToWrite {
  metadata?: Record<string, string>;
  /** Write checksums into the metadata; by default none, because a tool that rewrites the file would keep the old ones. */
  checksums?: boolean;
  /** Called when the new file is complete and on disk, before it replaces an old one. */
  beforeRename?(): Promise<void>;
}

/** Writes a safetensors file under a temporary name and renames it; asks one tensor after the other for its values. */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  { metadata = { format: "pt" }, checksums = false, beforeRename = async () => {} }: SafetensorsToWrite = {},
): Promise<void> {
  const entry = checksums ? { ...metadata, ...emptySums(tensors.length) } : metadata;
  const header = new Map<string, unknown>([["__metadata__", entry]]);
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    if (header.has(name)) throw new Error(`${file}: "${name}" occurs twice.`);
    const end = offset + elementCount(shape) * DTYPE_BYTES[dtype];
    header.set(name, { dtype, shape, data_offsets: [offset, end] });
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  // The header is padded with spaces so that tensor bytes start 8-byte aligned, as the format asks.
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const start = Buffer.concat([length, padded]);
  const sums: number[] = [];
  await writeAtomic(file, async (handle) => {
    await writeFully(handle, start);
    for (const tensor of tensors) {
      const values = await tensor.values();
      if (values.length !== elementCount(tensor.shape)) {
        throw new Error(`${file}: "${tensor.name}" has ${values.length} values, expected [${tensor.shape}].`);
      }
      const bytes = encodeElements(values, tensor.dtype);
      if (checksums) sums.push(crc32(bytes));
      await writeFully(handle, bytes);
    }
    if (checksums) await handle.write(fillSums(start, sums), 0, start.length, 0);
    await beforeRename();
  });
}
