import { UserError } from "../base/errors.ts";
import { writeAtomic, writeFully } from "../base/files.ts";
import { encodeGgufElements, GGUF_TYPES, type GgufType, type GgufWriteType } from "./gguf-blocks.ts";
import { GGUF_MAGIC, GGUF_VALUE } from "./gguf-header.ts";
import { elementCount } from "./tensor-source.ts";

const VERSION = 3;
const ALIGNMENT = 32;
/** The limit of llama.cpp. */
const MAX_NAME_BYTES = 63;

/** An entry of the metadata; a list becomes an array of its type. */
export interface GgufField {
  key: string;
  type: "uint32" | "int32" | "float32" | "bool" | "string";
  value: number | boolean | string | readonly (number | boolean | string)[] | Float32Array | Uint8Array;
}

export interface GgufTensorToWrite {
  name: string;
  type: GgufWriteType;
  /** Row-major, as everywhere in this program; the file stores it reversed. */
  shape: readonly number[];
  values(): Promise<ArrayLike<number>>;
}

function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([encode64(bytes.length), bytes]);
}

function encode32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function encode64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function encodeScalar(type: GgufField["type"], value: number | boolean | string, key: string): Buffer {
  const bytes = Buffer.alloc(type === "bool" ? 1 : 4);
  if (type === "string" && typeof value === "string") return encodeText(value);
  if (type === "bool" && typeof value === "boolean") bytes.writeUInt8(value ? 1 : 0);
  else if (type === "uint32" && typeof value === "number") bytes.writeUInt32LE(value);
  else if (type === "int32" && typeof value === "number") bytes.writeInt32LE(value);
  else if (type === "float32" && typeof value === "number") bytes.writeFloatLE(value);
  else throw new Error(`${key}: a ${typeof value} cannot be written as ${type}.`);
  return bytes;
}

function encodeField({ key, type, value }: GgufField): Buffer {
  const code = GGUF_VALUE[type];
  if (typeof value !== "object") {
    return Buffer.concat([encodeText(key), encode32(code), encodeScalar(type, value, key)]);
  }
  const items = Array.from(value, (item) => encodeScalar(type, item, key));
  return Buffer.concat([encodeText(key), encode32(GGUF_VALUE.array), encode32(code), encode64(items.length), ...items]);
}

const typeNamed = (dtype: GgufWriteType) => GGUF_TYPES.find((type) => type.dtype === dtype) as GgufType;
const padded = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/**
 * Writes a GGUF file (version 3) under a temporary name and renames it; asks one tensor after the other for its values. Throws a UserError
 * for a tensor that does not fit its type, an Error for a repeated name or a wrong number of values.
 */
export async function writeGguf(
  file: string,
  fields: readonly GgufField[],
  tensors: readonly GgufTensorToWrite[],
): Promise<void> {
  const names = new Set<string>();
  const infos: Buffer[] = [];
  let offset = 0;
  const sizes = tensors.map(({ name, type, shape }) => {
    const { code, blockElements, blockBytes } = typeNamed(type);
    if (names.has(name)) throw new Error(`${file}: "${name}" occurs twice.`);
    names.add(name);
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
      throw new UserError(`${file}: the name "${name}" has more than ${MAX_NAME_BYTES} bytes, which GGUF cannot hold.`);
    }
    if ((shape.at(-1) ?? 1) % blockElements !== 0) {
      throw new UserError(`${file}: "${name}" has rows of ${shape.at(-1)} elements, ${type} needs ${blockElements}s.`);
    }
    const sizeBytes = (elementCount(shape) / blockElements) * blockBytes;
    const dimensions = [...shape].reverse().map(encode64);
    infos.push(encodeText(name), encode32(shape.length), ...dimensions, encode32(code), encode64(offset));
    offset += padded(sizeBytes);
    return sizeBytes;
  });
  const start = [encode32(GGUF_MAGIC), encode32(VERSION), encode64(tensors.length), encode64(fields.length)];
  const header = Buffer.concat([...start, ...fields.map(encodeField), ...infos]);
  await writeAtomic(file, async (handle) => {
    await writeFully(handle, header);
    await writeFully(handle, Buffer.alloc(padded(header.length) - header.length));
    for (const [i, tensor] of tensors.entries()) {
      const values = await tensor.values();
      if (values.length !== elementCount(tensor.shape)) {
        throw new Error(`${file}: "${tensor.name}" has ${values.length} values, expected [${tensor.shape}].`);
      }
      await writeFully(handle, encodeGgufElements(values, tensor.type));
      await writeFully(handle, Buffer.alloc(padded(sizes[i]) - sizes[i]));
    }
  });
}
