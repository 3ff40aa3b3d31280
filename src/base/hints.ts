import { UserError } from "./errors.ts";

const LFS_START = "version https://git-lfs";
/** A pointer has three short lines. */
export const MAX_POINTER_BYTES = 1024;

/** The hint for a file that begins as a Git LFS pointer: a clone without git-lfs has such files in the place of large ones. */
export function gitLfsHint(start: Uint8Array | string): string | null {
  const text = typeof start === "string" ? start : String.fromCharCode(...start.subarray(0, LFS_START.length));
  return text.startsWith(LFS_START) ? "Run: git lfs pull" : null;
}

/** Throws a UserError when a file begins as a Git LFS pointer. */
export function expectNoLfsPointer(file: string, start: Uint8Array | string, what: string): void {
  const hint = gitLfsHint(start);
  if (hint !== null) throw new UserError(`${file}: is a Git LFS pointer, expected ${what}.`, { hint });
}
