import { type ByteChecksAddon, loadAddon, nativeStatus } from "./addon.ts";

/** The number types of `allFinite` by name. */
export const CHECKED_NUMBERS = { F32: 0, F16: 1, BF16: 2 } as const;

/** The checks of bytes of the native addon (native/runtime/checks.cpp); null where it is not built, or another backend is asked for. */
export function nativeByteChecks(): ByteChecksAddon | null {
  if (!["", "native"].includes(process.env.CRE_BACKEND ?? "") || !nativeStatus().available) return null;
  try {
    return loadAddon(undefined).addon;
  } catch {
    // The one that opens the backend is told why.
    return null;
  }
}
