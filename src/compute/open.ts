import { UserError } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import { nativeByteInstructions, nativeStatus, openNative } from "./native/open.ts";
import { openReference } from "./reference/backend.ts";
import { openWasm, wasmProblem } from "./wasm/open.ts";

/** Best first. */
export const BACKENDS = ["native", "wasm", "reference"] as const;
export type BackendName = (typeof BACKENDS)[number];

const INSTALL = "a C++17 compiler (Debian: apt-get install g++) and `npm run build` give the native backend";

/** The backend that CRE_BACKEND names, null without it; throws a UserError for another word. */
function forcedBackend(): BackendName | null {
  const forced = process.env.CRE_BACKEND ?? "";
  if (forced === "") return null;
  const known = BACKENDS.find((name) => name === forced);
  if (known === undefined) throw new UserError(`CRE_BACKEND is "${forced}", expected "native", "wasm" or "reference".`);
  return known;
}

/** The backend that `openBackend` opens: the one that CRE_BACKEND names, else the best that this machine has. */
export function chosenBackend(): BackendName {
  return forcedBackend() ?? (nativeStatus().available ? "native" : wasmProblem() === null ? "wasm" : "reference");
}

/**
 * The instructions that compute products of 8-bit weights and activations (storage w8a8) on that backend; null where none of this
 * processor's gave right sums.
 */
export function byteInstructions(): string | null {
  const chosen = chosenBackend();
  if (chosen === "reference") return "plain TypeScript";
  return chosen === "wasm" ? "plain loops" : nativeByteInstructions();
}

/** Whether a default recipe can start from the base model, which takes hours on the reference backend. */
export function hasFastBackend(): boolean {
  return chosenBackend() !== "reference";
}

/**
 * Opens the best backend of this machine: native, else WebAssembly, else the slow reference one; a notice says why it is not the native one,
 * how fast it is, and what to install. CRE_BACKEND=native|wasm|reference forces one. Throws a UserError when the forced one is not available.
 */
export function openBackend(
  precision: "auto" | "bfloat16" | "float32",
  onNotice: (line: string) => void = () => {},
  options: { profile?: boolean } = {},
): Backend {
  const chosen = chosenBackend();
  const { available, reason } = nativeStatus();
  if (chosen === "native") {
    if (!available) throw new UserError(`The native backend cannot be used: ${reason}.`);
    return openNative({ ...options, ...(precision === "auto" ? {} : { precision }) });
  }
  const isForced = forcedBackend() !== null;
  if (chosen === "wasm") {
    const backend = openWasm(options);
    if (!isForced) {
      onNotice(
        `The native backend cannot be used: ${reason}. Computing with ${backend.description}: two to five times slower ` +
          `(\`cre bench train-step\` measures it); ${INSTALL}.`,
      );
    }
    return backend;
  }
  if (!isForced) {
    const reasons = `The native backend cannot be used: ${reason}. Nor WebAssembly: ${wasmProblem()}.`;
    onNotice(`${reasons} Computing with the reference backend, hundreds of times slower; ${INSTALL}.`);
  }
  return openReference({ precision: "float32" });
}
