import type { Backend } from "../../src/compute/backend.ts";
import { nativeStatus, openNative } from "../../src/compute/native/open.ts";
import { openReference } from "../../src/compute/reference/backend.ts";
import { openWasm, wasmProblem } from "../../src/compute/wasm/open.ts";

export interface TestedBackend {
  name: string;
  open(): Backend;
  /** Whether weights and activations are float32 throughout. */
  exact: boolean;
}

const status = nativeStatus();
const canOpen = (precision: "float32" | "bfloat16"): boolean => {
  try {
    openNative({ precision, threads: 1 }).close();
    return true;
  } catch (error) {
    console.warn(`native ${precision} is not tested: ${error instanceof Error ? error.message : error}`);
    return false;
  }
};

/** Every backend of this machine; says which one is left out and why. */
export const TESTED_BACKENDS: TestedBackend[] = [
  { name: "reference float32", open: () => openReference({ precision: "float32" }), exact: true },
];
const problem = wasmProblem();
if (problem !== null) console.warn(`wasm is not tested: ${problem}`);
else TESTED_BACKENDS.push({ name: "wasm float32", open: () => openWasm({ threads: 2 }), exact: true });
if (!status.available) console.warn(`native is not tested: ${status.reason}`);
else {
  for (const precision of ["float32", "bfloat16"] as const) {
    if (!canOpen(precision)) continue;
    TESTED_BACKENDS.push({
      name: `native ${precision}`,
      open: () => openNative({ precision }),
      exact: precision === "float32",
    });
  }
}

/** The largest difference of two lists of numbers, where it is, and both numbers. */
export function worstOf(got: ArrayLike<number>, wanted: ArrayLike<number>) {
  if (got.length !== wanted.length) throw new Error(`${got.length} numbers, expected ${wanted.length}.`);
  let worst = { difference: 0, index: 0, got: got[0], wanted: wanted[0] };
  for (let index = 0; index < wanted.length; index++) {
    const difference = Math.abs(got[index] - wanted[index]);
    // Written so that NaN is worst of all.
    if (!(difference <= worst.difference)) worst = { difference, index, got: got[index], wanted: wanted[index] };
  }
  return worst;
}
