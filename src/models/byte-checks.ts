import { CHECKED_NUMBERS, nativeByteChecks } from "../compute/native/byte-checks.ts";
import { useByteChecks } from "../formats/byte-checks.ts";

let isNative = false;

/** Lets files be checked by the native addon, once there is one. */
export function useNativeByteChecks(): void {
  if (isNative) return;
  const native = nativeByteChecks();
  if (native === null) return;
  isNative = true;
  useByteChecks({
    sum: native.sumOfBytes,
    allFinite: (dtype, bytes) => native.allFinite(bytes, CHECKED_NUMBERS[dtype]),
  });
}
