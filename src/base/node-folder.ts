import { existsSync } from "node:fs";
import { join } from "node:path";
import { openToRead } from "./files.ts";
import type { Folder } from "./folder.ts";

/** A folder on a disk. */
export function nodeFolder(directory: string): Folder {
  const path = (name: string) => join(directory, name);
  return {
    directory,
    path,
    has: (name) => existsSync(path(name)),
    open: (name, what) => openToRead(path(name), what),
  };
}
