import { messageOf, UserError } from "../base/errors.ts";
import type { Folder, OpenFile } from "../base/folder.ts";

/** The files of a folder on a server, with their sizes: a server cannot be asked for them, and an answer is checked against its size. */
export type FileSizes = Readonly<Record<string, number>>;

export interface FetchedFolderOptions {
  files: FileSizes;
  /** Receives how many more bytes have come. */
  onBytes?(bytes: number): void;
  signal?: AbortSignal;
}

/**
 * A folder on a server, its files fetched whole when they are opened; `address` ends with a slash. Throws a UserError for a file that does
 * not come, or has another size.
 */
export function fetchedFolder(address: string, { files, onBytes, signal }: FetchedFolderOptions): Folder {
  const has = (name: string) => Object.hasOwn(files, name);
  const path = (name: string) => `${address}${name}`;
  return {
    directory: address,
    path,
    has,
    async open(name, what) {
      if (!has(name)) throw new UserError(`${path(name)}: is not in the list of files, expected ${what}.`);
      return inMemory(await fetchBytes(path(name), files[name], what, onBytes, signal));
    },
  };
}

async function fetchBytes(
  address: string,
  sizeBytes: number,
  what: string,
  onBytes: FetchedFolderOptions["onBytes"],
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes);
  let length = 0;
  try {
    const response = await fetch(address, { signal });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const reader = (response.body as NonNullable<typeof response.body>).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (length + part.value.length > sizeBytes) {
        await reader.cancel();
        throw new Error(`it has more than ${sizeBytes} bytes`);
      }
      bytes.set(part.value, length);
      length += part.value.length;
      onBytes?.(part.value.length);
    }
  } catch (error) {
    throw new UserError(`${address}: cannot be read (${messageOf(error)}), expected ${what}.`, {
      hint: "Load the page again. If it stays like this, the files on the server are not those of one build.",
    });
  }
  if (length === sizeBytes) return bytes;
  throw new UserError(`${address}: has ${length} bytes, expected ${sizeBytes}: ${what}.`, {
    hint: "The file on the server is cut, or not that of this build.",
  });
}

function inMemory(content: Uint8Array): OpenFile {
  return {
    sizeBytes: content.length,
    handle: {
      async read(bytes, offset, length, position) {
        const part = content.subarray(position, position + length);
        bytes.set(part, offset);
        return { bytesRead: part.length };
      },
      close: async () => {},
    },
  };
}
