/** The sections of a module that are looked at: "import", and the kind of an imported memory. */
const IMPORT_SECTION = 2;
const MEMORY = 2;
const HEADER_BYTES = 8;
/** Limits of a memory: with a maximum, and shared with other threads. */
const HAS_MAXIMUM = 1;
const SHARED = 2;

/**
 * The bytes of kernels.wasm for a memory that is not shared: one bit of the import of its memory differs. Pages that are not cross-origin
 * isolated cannot share memory; the atomic instructions of the module work on any. Throws an Error for a module that imports no shared memory.
 */
export function withOwnMemory(module: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = Uint8Array.from(module);
  let at = HEADER_BYTES;
  /** LEB128. */
  const number = (): number => {
    let value = 0;
    for (let shift = 0; at < bytes.length; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value >>> 0;
  };
  const skip = (length: number) => {
    at += length;
  };
  while (at < bytes.length) {
    const section = bytes[at++];
    const end = number() + at;
    if (section === IMPORT_SECTION) {
      for (let left = number(); left > 0 && at < end; left--) {
        skip(number()); // the names of the module and of the thing
        skip(number());
        if (bytes[at++] === MEMORY && bytes[at] === (HAS_MAXIMUM | SHARED)) {
          bytes[at] = HAS_MAXIMUM;
          return bytes;
        }
        number(); // the type of a function
      }
    }
    at = end;
  }
  throw new Error("The module imports no shared memory.");
}
