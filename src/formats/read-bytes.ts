import { UserError } from "../base/errors.ts";
import type { ReadableFile } from "../base/folder.ts";

/** One read call of Node reads at most 2^31 − 1 bytes. */
const READ_CHUNK_BYTES = 1 << 28;
/** The longest buffer of Node 20; the largest tensor of a known model (embedding of Baichuan2-13B in float32) has 2.6 · 10^9 bytes. */
export const MAX_READ_BYTES = 2 ** 32;

/** Reads exactly `length` bytes, in parts that fit one system call. Throws a UserError when the file ends early. */
export async function readBytes(
  handle: ReadableFile,
  file: string,
  start: number,
  length: number,
): Promise<Uint8Array> {
  if (length > MAX_READ_BYTES) {
    throw new UserError(`${file}: has a part of ${length} bytes, expected at most ${MAX_READ_BYTES} in one tensor.`);
  }
  const out = new Uint8Array(length);
  await readInto(handle, file, start, out);
  return out;
}

/** Fills `out` with the bytes of a file from `start` on. Throws a UserError when the file ends early. */
export async function readInto(handle: ReadableFile, file: string, start: number, out: Uint8Array): Promise<void> {
  for (let done = 0; done < out.length; ) {
    const { bytesRead } = await handle.read(out, done, Math.min(READ_CHUNK_BYTES, out.length - done), start + done);
    if (bytesRead === 0) throw new UserError(`${file}: ends at byte ${start + done}, expected ${start + out.length}.`);
    done += bytesRead;
  }
}
