import { UserError } from "./errors.ts";
import { expectNoLfsPointer } from "./hints.ts";
import { decodeUtf8 } from "./utf8.ts";

/** A file that is read in parts; a file handle of Node is one. */
export interface ReadableFile {
  /** Reads at most `length` bytes from `position` on into `bytes` at `offset`; 0 bytes at the end of the file. */
  read(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  close(): Promise<void>;
}

/** A file that is open for reading. */
export interface OpenFile {
  handle: ReadableFile;
  sizeBytes: number;
}

/** A folder whose files are read by name: on a disk (nodeFolder), or over HTTP (fetchedFolder of browser/). */
export interface Folder {
  /** Its path or address, for messages. */
  readonly directory: string;
  /** The path of a file in it, for messages. */
  path(name: string): string;
  has(name: string): boolean;
  /** Opens a file; throws a UserError that names what was expected when it cannot be read. */
  open(name: string, what: string): Promise<OpenFile>;
}

/** A whole file of a folder, of at most `maxBytes`. Throws a UserError otherwise. */
export async function readFolderBytes(
  folder: Folder,
  name: string,
  what: string,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const file = folder.path(name);
  const { handle, sizeBytes } = await folder.open(name, what);
  try {
    if (sizeBytes > maxBytes) {
      throw new UserError(`${file}: has ${sizeBytes} bytes, expected ${what} of at most ${maxBytes} bytes.`);
    }
    const bytes = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const { bytesRead } = await handle.read(bytes, done, sizeBytes - done, done);
      if (bytesRead === 0) throw new UserError(`${file}: ends at byte ${done}, expected ${sizeBytes}.`);
      done += bytesRead;
    }
    expectNoLfsPointer(file, bytes, what);
    return bytes;
  } finally {
    await handle.close();
  }
}

/** A text file of a folder as strict UTF-8 of at most `maxBytes`; a byte-order mark is dropped. Throws a UserError otherwise. */
export async function readFolderText(folder: Folder, name: string, what: string, maxBytes: number): Promise<string> {
  return decodeUtf8(await readFolderBytes(folder, name, what, maxBytes), folder.path(name));
}
