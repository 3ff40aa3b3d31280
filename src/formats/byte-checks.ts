import { crc32 } from "./crc32.ts";
import { allFinite } from "./finite.ts";
import type { TensorDtype } from "./tensor-source.ts";

/** What is computed of every byte of a model while it is read. */
export interface ByteChecks {
  /** CRC-32, continued from the sum of the bytes before these. */
  sum(bytes: Uint8Array, before: number): number;
  /** Whether none of whole elements is NaN or infinite. */
  allFinite(dtype: TensorDtype, bytes: Uint8Array): boolean;
}

/** In JavaScript: the judge of faster ones. */
export const plainByteChecks: ByteChecks = { sum: crc32, allFinite };

let chosen = plainByteChecks;

/** The checks of everything that is read from now on. */
export function useByteChecks(checks: ByteChecks): void {
  chosen = checks;
}

export const byteChecks = (): ByteChecks => chosen;
