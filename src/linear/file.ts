import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { messageOf, UserError } from "../base/errors.ts";
import { decodeUtf8, fileSizeBytes, writeFileAtomic } from "../base/files.ts";
import { parseJson } from "../base/json-text.ts";
import { checkSchema } from "../base/schema.ts";
import { createLabelSet } from "../data/label-set.ts";
import { FEATURE_GROUPS } from "./features.ts";
import type { LinearModel } from "./model.ts";

// The file: 8 bytes of mark, the length of the header (uint32), the header (JSON), hashes[features] (uint32), scales[features] (float32),
// quantized[features, labels] (int8), SHA-256 of all that precedes. Numbers are little-endian.
const MARK = "crelin01";
const HEADER_START = MARK.length + 4;
const DIGEST_BYTES = 32;
const MAX_HEADER_BYTES = 4_000_000;
const MAX_FEATURES = 4_000_000;
const MAX_FILE_BYTES = 512_000_000;
const WHAT = "a file of the linear companion";

const headerSchema = z.strictObject({
  labels: z.array(z.string()).min(1),
  maxNgram: z.int().min(1).max(16),
  windowCharacters: z.int().min(0).max(10_000),
  groupWeights: z.strictObject(
    Object.fromEntries(FEATURE_GROUPS.map((group) => [group, z.number().min(0).max(1000)])) as Record<
      (typeof FEATURE_GROUPS)[number],
      z.ZodNumber
    >,
  ),
  features: z.int().min(0).max(MAX_FEATURES),
});

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

/** Reads a model; throws a UserError for a file that is missing, too large, cut, changed or of another kind. */
export async function openLinear(file: string): Promise<LinearModel> {
  const bytes = await readBounded(file);
  if (bytes.length < HEADER_START + DIGEST_BYTES || bytes.toString("latin1", 0, MARK.length) !== MARK) {
    throw new UserError(`${file}: does not begin with ${MARK}, expected ${WHAT}.`);
  }
  const headerBytes = bytes.readUInt32LE(MARK.length);
  if (headerBytes > MAX_HEADER_BYTES || HEADER_START + headerBytes + DIGEST_BYTES > bytes.length) {
    throw new UserError(
      `${file}: the header claims ${headerBytes} bytes, but the file has ${bytes.length} (limit ${MAX_HEADER_BYTES}).`,
    );
  }
  if (!digestOf(bytes).equals(bytes.subarray(bytes.length - DIGEST_BYTES))) {
    throw new UserError(`${file}: the checksum at its end is not that of its content, expected an unchanged file.`, {
      hint: "The file was cut or changed; train the run again or copy the file again.",
    });
  }
  const header = parseHeader(bytes.subarray(HEADER_START, HEADER_START + headerBytes), file);
  const { labels, features, ...vectors } = header;
  const wantedBytes = fileBytes(headerBytes, features, labels.length);
  if (bytes.length !== wantedBytes) {
    throw new UserError(
      `${file}: has ${bytes.length} bytes, expected ${wantedBytes} for ${features} features and ${labels.length} labels.`,
    );
  }
  const start = HEADER_START + headerBytes;
  const hashes = Uint32Array.from({ length: features }, (_, i) => bytes.readUInt32LE(start + 4 * i));
  const scales = Float32Array.from({ length: features }, (_, i) => bytes.readFloatLE(start + 4 * (features + i)));
  const quantized = new Int8Array(features * labels.length);
  quantized.set(new Int8Array(bytes.buffer, bytes.byteOffset + start + 8 * features, quantized.length));
  checkFeatures(hashes, scales, file);
  return { labels, vectors, hashes, scales, quantized };
}

function fileBytes(headerBytes: number, features: number, labels: number): number {
  return HEADER_START + headerBytes + features * (8 + labels) + DIGEST_BYTES;
}

/** SHA-256 of a file's bytes without the digest at their end. */
function digestOf(bytes: Buffer): Buffer {
  return createHash("sha256")
    .update(bytes.subarray(0, bytes.length - DIGEST_BYTES))
    .digest();
}

async function readBounded(file: string): Promise<Buffer> {
  const sizeBytes = await fileSizeBytes(file, WHAT);
  if (sizeBytes > MAX_FILE_BYTES) {
    throw new UserError(`${file}: has ${sizeBytes} bytes, expected ${WHAT} of at most ${MAX_FILE_BYTES} bytes.`);
  }
  try {
    return await readFile(file);
  } catch (error) {
    throw new UserError(`${file}: cannot be read (${messageOf(error)}), expected ${WHAT}.`);
  }
}

function parseHeader(bytes: Uint8Array, file: string): z.infer<typeof headerSchema> {
  const value = parseJson(decodeUtf8(bytes, file), `${file}: the header`);
  const header = checkSchema(headerSchema, value, `${file}: the header`);
  createLabelSet({ labels: header.labels }, file);
  return header;
}

function checkFeatures(hashes: Uint32Array, scales: Float32Array, file: string): void {
  for (let i = 0; i < hashes.length; i++) {
    if (i > 0 && hashes[i] <= hashes[i - 1]) {
      throw new UserError(`${file}: feature ${i} has the hash ${hashes[i]}, expected more than ${hashes[i - 1]}.`);
    }
    if (!(scales[i] >= 0 && scales[i] < Number.POSITIVE_INFINITY)) {
      throw new UserError(`${file}: feature ${i} has the scale ${scales[i]}, expected a finite number of at least 0.`);
    }
  }
}
