import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import type { LinearModel } from "./model.ts";
import { DIGEST_BYTES, fileBytes, HEADER_START, MARK, readLinear } from "./read.ts";

/** Writes a model; {@link openLinear} reads an equal one back. Throws a UserError when the file cannot be written. */
export async function saveLinear(model: LinearModel, file: string): Promise<void> {
  const { labels, vectors, hashes, scales, quantized } = model;
  const { maxNgram, windowCharacters, groupWeights } = vectors;
  const features = hashes.length;
  const header = Buffer.from(JSON.stringify({ labels, maxNgram, windowCharacters, groupWeights, features }));
  const bytes = Buffer.alloc(fileBytes(header.length, features, labels.length));
  bytes.write(MARK, "latin1");
  bytes.writeUInt32LE(header.length, MARK.length);
  bytes.set(header, HEADER_START);
  let at = HEADER_START + header.length;
  for (const hash of hashes) at = bytes.writeUInt32LE(hash, at);
  for (const scale of scales) at = bytes.writeFloatLE(scale, at);
  bytes.set(new Uint8Array(quantized.buffer, quantized.byteOffset, quantized.length), at);
  bytes.set(digestOf(bytes), bytes.length - DIGEST_BYTES);
  await writeFileAtomic(file, bytes);
}

/** Reads a model; see {@link readLinear}. */
export const openLinear = (file: string): Promise<LinearModel> => readLinear(nodeFolder(dirname(file)), basename(file));

/** SHA-256 of a file's bytes without the digest at their end. */
function digestOf(bytes: Buffer): Buffer {
  return createHash("sha256")
    .update(bytes.subarray(0, bytes.length - DIGEST_BYTES))
    .digest();
}
