import { encodeQ4K, encodeQ6K } from "./gguf-k-quants.ts";
import { decodeElements, encodeElements, type StoredDtype } from "./tensor-source.ts";

/**
 * The byte layout of a type of GGUF tensors: blocks of `blockElements` neighbours along a row, as in ggml (github.com/ggml-org/ggml,
 * ggml-common.h and the gguf Python package). d is always a float16.
 */
export interface GgufType {
  dtype: StoredDtype;
  /** The type's number in files. */
  code: number;
  blockElements: number;
  blockBytes: number;
  decode(bytes: Uint8Array): Float32Array;
}

/** The value of every float16. */
const HALVES = decodeElements(new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, word) => word).buffer), "F16");
const half = (bytes: Uint8Array, at: number) => HALVES[bytes[at] | (bytes[at + 1] << 8)];
const signed = (byte: number) => (byte << 24) >> 24;

/** Decodes block by block; `decodeBlock` writes the elements of the block at `at` from `to` on. */
function blockwise(
  blockElements: number,
  blockBytes: number,
  decodeBlock: (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void,
): (bytes: Uint8Array) => Float32Array {
  return (bytes) => {
    const blocks = bytes.length / blockBytes;
    const out = new Float32Array(blocks * blockElements);
    for (let i = 0; i < blocks; i++) decodeBlock(bytes, i * blockBytes, out, i * blockElements);
    return out;
  };
}

/** d, 32 signed bytes: d · q. */
const decodeQ8 = blockwise(32, 34, (bytes, at, out, to) => {
  const d = half(bytes, at);
  for (let i = 0; i < 32; i++) out[to + i] = d * signed(bytes[at + 2 + i]);
});

/** d, 16 bytes: low halves are elements 0 to 15, high halves 16 to 31: d · (q − 8). */
const decodeQ4 = blockwise(32, 18, (bytes, at, out, to) => {
  const d = half(bytes, at);
  for (let i = 0; i < 16; i++) {
    const byte = bytes[at + 2 + i];
    out[to + i] = d * ((byte & 15) - 8);
    out[to + 16 + i] = d * ((byte >> 4) - 8);
  }
});

/** d, the fifth bits (bit i: element i), 16 bytes as in Q4_0: d · (q − 16). */
const decodeQ5 = blockwise(32, 22, (bytes, at, out, to) => {
  const d = half(bytes, at);
  for (let i = 0; i < 32; i++) {
    const low = (bytes[at + 6 + (i & 15)] >> (4 * (i >> 4))) & 15;
    const high = (bytes[at + 2 + (i >> 3)] >> (i & 7)) & 1;
    out[to + i] = d * ((low | (high << 4)) - 16);
  }
});

/** Eight scales and eight minima of 6 bits in 12 bytes: the first four of each take six bits of a byte, the upper two bits hold parts of the others. */
function scaleAndMin(bytes: Uint8Array, at: number, index: number): [number, number] {
  if (index < 4) return [bytes[at + index] & 63, bytes[at + index + 4] & 63];
  const low = bytes[at + index + 4];
  return [(low & 15) | ((bytes[at + index - 4] >> 6) << 4), (low >> 4) | ((bytes[at + index] >> 6) << 4)];
}

/** d, dmin, 12 bytes of scales, then for each 64 elements 32 bytes (low halves first): d · scale · q − dmin · min for each 32 elements. */
const decodeQ4K = blockwise(256, 144, (bytes, at, out, to) => {
  decodeK(bytes, at, out, to, at + 16, null);
});

/** Q4_K with a fifth bit: 32 bytes come first, and bit g of byte i is the fifth bit of element i of group g. */
const decodeQ5K = blockwise(256, 176, (bytes, at, out, to) => {
  decodeK(bytes, at, out, to, at + 48, at + 16);
});

function decodeK(
  bytes: Uint8Array,
  at: number,
  out: Float32Array,
  to: number,
  lowAt: number,
  highAt: number | null,
): void {
  const d = half(bytes, at);
  const dmin = half(bytes, at + 2);
  for (let group = 0; group < 8; group++) {
    const [scale, min] = scaleAndMin(bytes, at + 4, group);
    // ggml rounds these products to float32.
    const step = Math.fround(d * scale);
    const base = Math.fround(dmin * min);
    const shift = (group & 1) * 4;
    const from = lowAt + (group >> 1) * 32;
    for (let i = 0; i < 32; i++) {
      let q = (bytes[from + i] >> shift) & 15;
      if (highAt !== null) q |= ((bytes[highAt + i] >> group) & 1) << 4;
      out[to + group * 32 + i] = Math.fround(step * q) - base;
    }
  }
}

/**
 * 128 bytes of low halves, 64 bytes of two high bits, 16 signed scales, d: d · scale · (q − 32), one scale for each 16 elements. In each
 * half of the block, element 32g + i has its low bits in byte 32(g mod 2) + i (high half for g ≥ 2) and its high bits in bits 2g of byte i.
 */
const decodeQ6K = blockwise(256, 210, (bytes, at, out, to) => {
  const d = half(bytes, at + 208);
  for (let i = 0; i < 256; i++) {
    const part = i >> 7;
    const group = (i >> 5) & 3;
    const low = (bytes[at + part * 64 + (group & 1) * 32 + (i & 31)] >> ((group >> 1) * 4)) & 15;
    const high = (bytes[at + 128 + part * 32 + (i & 31)] >> (group * 2)) & 3;
    const scale = Math.fround(d * signed(bytes[at + 192 + (i >> 4)]));
    out[to + i] = scale * ((low | (high << 4)) - 32);
  }
});

const plain = (dtype: "F32" | "F16" | "BF16", code: number, blockBytes: number): GgufType => ({
  dtype,
  code,
  blockElements: 1,
  blockBytes,
  decode: (bytes) => decodeElements(bytes, dtype),
});

export const GGUF_TYPES: readonly GgufType[] = [
  plain("F32", 0, 4),
  plain("F16", 1, 2),
  plain("BF16", 30, 2),
  { dtype: "Q4_0", code: 2, blockElements: 32, blockBytes: 18, decode: decodeQ4 },
  { dtype: "Q5_0", code: 6, blockElements: 32, blockBytes: 22, decode: decodeQ5 },
  { dtype: "Q8_0", code: 8, blockElements: 32, blockBytes: 34, decode: decodeQ8 },
  { dtype: "Q4_K", code: 12, blockElements: 256, blockBytes: 144, decode: decodeQ4K },
  { dtype: "Q5_K", code: 13, blockElements: 256, blockBytes: 176, decode: decodeQ5K },
  { dtype: "Q6_K", code: 14, blockElements: 256, blockBytes: 210, decode: decodeQ6K },
];

/** Names, by number, of the types that are not supported (ggml.h). */
export const OTHER_GGUF_TYPES: Readonly<Record<number, string>> = {
  3: "Q4_1",
  7: "Q5_1",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/** The types of tensors that this program writes. */
export type GgufWriteType = "F32" | "F16" | "BF16" | "Q8_0" | "Q5_0" | "Q4_K" | "Q6_K";

/** The types of whole files. Q4_K_M has some matrices in Q6_K, and rows that do not fill its blocks in Q5_0. */
export const GGUF_FILE_TYPES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q4_K_M"] as const;
export type GgufFileType = (typeof GGUF_FILE_TYPES)[number];

/** Encodes elements in a type; their number must fill its blocks. */
export function encodeGgufElements(values: ArrayLike<number>, type: GgufWriteType): Uint8Array {
  if (type === "Q8_0") return encodeQ8(values);
  if (type === "Q5_0") return encodeQ5(values);
  if (type !== "Q4_K" && type !== "Q6_K") return encodeElements(values, type);
  const float = values instanceof Float32Array ? values : Float32Array.from(values);
  return type === "Q4_K" ? encodeQ4K(float) : encodeQ6K(float);
}

/** Each 32 elements by their largest magnitude: d = max / 127 in float32, elements rounded half away from zero, then d as float16 (ggml). */
function encodeQ8(values: ArrayLike<number>): Uint8Array {
  const blocks = values.length / 32;
  const out = new Uint8Array(blocks * 34);
  const scales = new Float32Array(blocks);
  for (let block = 0; block < blocks; block++) {
    let most = 0;
    for (let i = 0; i < 32; i++) most = Math.max(most, Math.abs(Math.fround(values[block * 32 + i])));
    const d = Math.fround(most / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    scales[block] = d;
    for (let i = 0; i < 32; i++) {
      const scaled = Math.fround(Math.fround(values[block * 32 + i]) * inverse);
      out[block * 34 + 2 + i] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5);
    }
  }
  const narrow = encodeElements(scales, "F16");
  for (let block = 0; block < blocks; block++) out.set(narrow.subarray(block * 2, block * 2 + 2), block * 34);
  return out;
}

/**
 * Each 32 elements by the element of largest magnitude: d = it / −16 in float32, elements rounded half up from −16 to 15, then d as float16
 * (ggml, quantize_row_q5_0_ref).
 */
function encodeQ5(values: ArrayLike<number>): Uint8Array {
  const blocks = values.length / 32;
  const out = new Uint8Array(blocks * 22);
  const scales = new Float32Array(blocks);
  for (let block = 0; block < blocks; block++) {
    let largest = 0;
    for (let i = 0; i < 32; i++) {
      const value = Math.fround(values[block * 32 + i]);
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    const d = Math.fround(largest / -16);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    scales[block] = d;
    const to = block * 22;
    for (let i = 0; i < 32; i++) {
      const scaled = Math.fround(Math.fround(values[block * 32 + i]) * inverse);
      const q = Math.min(31, Math.trunc(Math.fround(scaled + 16.5)));
      out[to + 6 + (i & 15)] |= (q & 15) << (4 * (i >> 4));
      out[to + 2 + (i >> 3)] |= (q >> 4) << (i & 7);
    }
  }
  const narrow = encodeElements(scales, "F16");
  for (let block = 0; block < blocks; block++) out.set(narrow.subarray(block * 2, block * 2 + 2), block * 22);
  return out;
}
