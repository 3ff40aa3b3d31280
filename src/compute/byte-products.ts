/** What is known about products of 8-bit weights and activations (storage w8a8) on some instructions. */
export interface ByteProducts {
  /** Speed against the level's own products, in float32 or in bfloat16 on tiles; null where nobody has measured it. */
  gain: number | null;
  /** Where the number is from. */
  origin: string | null;
  /**
   * Whether `decode.precision: auto` chooses them: only where they are faster, and FinRE and SanWen F1 are within 0.3 of float32 with 99 % of
   * the labels the same.
   */
  isDefault: boolean;
}

const NOT_MEASURED: ByteProducts = { gain: null, origin: null, isDefault: false };

const INTEL = "bench/int8-products.mjs, Intel Xeon with AMX and 2 cores, loaded, 1 December 2026";

/** By the names of native/matmul/dot_w8a8.h, and of the backends that have no instructions of their own. */
export const BYTE_PRODUCTS: Readonly<Record<string, ByteProducts>> = {
  AVX2: {
    gain: 1.9,
    origin: "bench/int8-products.mjs, Zen 3 with 2 cores, loaded, 30 November 2026",
    isDefault: false,
  },
  "AVX-VNNI": { gain: 2.7, origin: INTEL, isDefault: false },
  "AVX-512": NOT_MEASURED,
  "AVX-512 VNNI": { gain: 3.1, origin: INTEL, isDefault: false },
  "AVX-512 VNNI without tiles": {
    gain: 0.125,
    origin: "a core's multiplications a cycle: 128 of vpdpbusd, 1,024 of the tiles that bfloat16 has; not measured",
    isDefault: false,
  },
  "AMX int8": { gain: 0.75, origin: INTEL, isDefault: false },
  "Arm SDOT": NOT_MEASURED,
  "plain loops": NOT_MEASURED,
  "plain TypeScript": { gain: 0.5, origin: "whole sums in a loop, next to sums in float64", isDefault: false },
};
