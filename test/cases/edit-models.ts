import { readFileSync, writeFileSync } from "node:fs";

/** A tensor of a safetensors file: its bytes can be changed in place or replaced. */
export interface StoredTensor {
  dtype: string;
  shape: number[];
  bytes: Buffer;
}

/** Rewrites a safetensors file with its tensors changed. */
export function editSafetensors(file: string, edit: (tensors: Map<string, StoredTensor>) => void): void {
  const whole = readFileSync(file);
  const headerBytes = Number(whole.readBigUInt64LE());
  const header = JSON.parse(whole.subarray(8, 8 + headerBytes).toString());
  const metadata = header.__metadata__;
  delete header.__metadata__;
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries<{
    dtype: string;
    shape: number[];
    data_offsets: [number, number];
  }>(header)) {
    const [from, to] = data_offsets.map((at) => at + 8 + headerBytes);
    tensors.set(name, { dtype, shape, bytes: Buffer.from(whole.subarray(from, to)) });
  }
  edit(tensors);
  const entries: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  let at = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    entries[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  let text = JSON.stringify(entries);
  text += " ".repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  writeFileSync(
    file,
    Buffer.concat([length, Buffer.from(text), ...Array.from(tensors.values(), ({ bytes }) => bytes)]),
  );
}

export function editJson(file: string, edit: (value: Record<string, unknown>) => void): void {
  const value = JSON.parse(readFileSync(file, "utf8"));
  edit(value);
  writeFileSync(file, JSON.stringify(value, null, 2));
}

/** A value of a GGUF file's header: a number is a float32, a bigint a uint32. */
export type GgufValue = number | bigint | string | boolean;

const GGUF_FIELDS_AT = 24;
const GGUF_ALIGNMENT = 32;

/** Puts fields before those of a GGUF file; the tensors' data stays aligned. */
export function addGgufFields(file: string, fields: Record<string, GgufValue>): void {
  const whole = Buffer.from(readFileSync(file));
  const added = Object.entries(fields).map(([key, value]) => ggufField(key, value));
  const size = added.reduce((sum, { length }) => sum + length, 0);
  const emptyFiller = ggufField("test.filler", "").length;
  const missing = (GGUF_ALIGNMENT - ((size + emptyFiller) % GGUF_ALIGNMENT)) % GGUF_ALIGNMENT;
  added.push(ggufField("test.filler", "x".repeat(missing)));
  whole.writeBigUInt64LE(whole.readBigUInt64LE(16) + BigInt(added.length), 16);
  writeFileSync(file, Buffer.concat([whole.subarray(0, GGUF_FIELDS_AT), ...added, whole.subarray(GGUF_FIELDS_AT)]));
}

function ggufField(key: string, value: GgufValue): Buffer {
  return Buffer.concat([ggufText(key), ...ggufValue(value)]);
}

function ggufValue(value: GgufValue): Buffer[] {
  const type = Buffer.alloc(4);
  if (typeof value === "string") {
    type.writeUInt32LE(8);
    return [type, ggufText(value)];
  }
  if (typeof value === "boolean") {
    type.writeUInt32LE(7);
    return [type, Buffer.from([value ? 1 : 0])];
  }
  const bytes = Buffer.alloc(4);
  if (typeof value === "bigint") {
    type.writeUInt32LE(4);
    bytes.writeUInt32LE(Number(value));
  } else {
    type.writeUInt32LE(6);
    bytes.writeFloatLE(value);
  }
  return [type, bytes];
}

function ggufText(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes]);
}
