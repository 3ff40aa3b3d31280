import { UserError } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import { nativeStatus, openNative } from "./native/open.ts";
import { openReference } from "./reference/backend.ts";

/**
 * Opens the best backend of this machine: the native one, or else the slow reference one, with a notice that says why.
 * CRE_BACKEND=reference|native forces one. Throws a UserError when the forced one is not available.
 */
export function openBackend(
  precision: "auto" | "bfloat16" | "float32",
  onNotice: (line: string) => void = () => {},
  options: { profile?: boolean } = {},
): Backend {
  const forced = process.env.CRE_BACKEND ?? "";
  if (!["", "native", "reference"].includes(forced)) {
    throw new UserError(`CRE_BACKEND is "${forced}", expected "native" or "reference".`);
  }
  const status = nativeStatus();
  if (forced !== "reference" && status.available) {
    return openNative({ ...options, ...(precision === "auto" ? {} : { precision }) });
  }
  if (forced === "native") throw new UserError(`The native backend cannot be used: ${status.reason}.`);
  if (forced === "") {
    onNotice(
      `The native backend cannot be used: ${status.reason}. Computing with the reference backend, which is slow.`,
    );
  }
  return openReference({ precision: "float32" });
}

/** Whether `openBackend` opens the native backend; the model of a default recipe depends on it. */
export function hasNativeBackend(): boolean {
  return nativeStatus().available && process.env.CRE_BACKEND !== "reference";
}
