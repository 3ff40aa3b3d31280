import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { type Folder, readFolderBytes } from "../base/folder.ts";
import { parseJson } from "../base/json-text.ts";
import { checkSchema } from "../base/schema.ts";
import { decodeUtf8 } from "../base/utf8.ts";
import { createLabelSet } from "../data/label-set.ts";
import { FEATURE_GROUPS, type FeatureGroup } from "./features.ts";
import type { LinearModel } from "./model.ts";

// The file: 8 bytes of mark, the length of the header (uint32), the header (JSON), hashes[features] (uint32), scales[features] (float32),
// quantized[features, labels] (int8), SHA-256 of all that precedes. Numbers are little-endian.
export const MARK = "crelin01";
export const HEADER_START = MARK.length + 4;
export const DIGEST_BYTES = 32;
const MAX_HEADER_BYTES = 4_000_000;
const MAX_FEATURES = 4_000_000;
const MAX_FILE_BYTES = 512_000_000;
const WHAT = "a file of the linear companion";

/** Groups that files of the first version do not have. */
const LATER_GROUPS: readonly FeatureGroup[] = ["clause", "kinds"];
const weight = z.number().min(0).max(1000);

const headerSchema = z.strictObject({
  labels: z.array(z.string()).min(1),
  maxNgram: z.int().min(1).max(16),
  windowCharacters: z.int().min(0).max(10_000),
  groupWeights: z.strictObject(
    Object.fromEntries(
      FEATURE_GROUPS.map((group) => [group, LATER_GROUPS.includes(group) ? weight.default(0) : weight]),
    ) as Record<FeatureGroup, typeof weight>,
  ),
  features: z.int().min(0).max(MAX_FEATURES),
});

/** Reads a model from a folder; throws a UserError for a file that is missing, too large, cut, changed or of another kind. */
export async function readLinear(folder: Folder, name: string): Promise<LinearModel> {
  const file = folder.path(name);
  const bytes = await readFolderBytes(folder, name, WHAT, MAX_FILE_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < HEADER_START + DIGEST_BYTES || String.fromCharCode(...bytes.subarray(0, MARK.length)) !== MARK) {
    throw new UserError(`${file}: does not begin with ${MARK}, expected ${WHAT}.`);
  }
  const headerBytes = view.getUint32(MARK.length, true);
  if (headerBytes > MAX_HEADER_BYTES || HEADER_START + headerBytes + DIGEST_BYTES > bytes.length) {
    throw new UserError(
      `${file}: the header claims ${headerBytes} bytes, but the file has ${bytes.length} (limit ${MAX_HEADER_BYTES}).`,
    );
  }
  if (!(await hasItsDigest(bytes))) {
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
  const hashes = Uint32Array.from({ length: features }, (_, i) => view.getUint32(start + 4 * i, true));
  const scales = Float32Array.from({ length: features }, (_, i) => view.getFloat32(start + 4 * (features + i), true));
  const quantized = new Int8Array(features * labels.length);
  quantized.set(new Int8Array(bytes.buffer, bytes.byteOffset + start + 8 * features, quantized.length));
  checkFeatures(hashes, scales, file);
  return { labels, vectors, hashes, scales, quantized };
}

/** The length of a file. */
export function fileBytes(headerBytes: number, features: number, labels: number): number {
  return HEADER_START + headerBytes + features * (8 + labels) + DIGEST_BYTES;
}

/**
 * Whether the SHA-256 at the end of a file's bytes is theirs. A page that a browser did not get over a safe connection has no such function;
 * there the checksums of a run's folder tell.
 */
async function hasItsDigest(bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const { subtle } = globalThis.crypto;
  if (!subtle) return true;
  const content = bytes.subarray(0, bytes.length - DIGEST_BYTES);
  const digest = new Uint8Array(await subtle.digest("SHA-256", content));
  return digest.every((byte, i) => byte === bytes[content.length + i]);
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
