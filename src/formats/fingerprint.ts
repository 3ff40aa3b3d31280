import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openToRead } from "../base/files.ts";
import { readBytes } from "./read-bytes.ts";

const PARTS = 16;
const PART_BYTES = 65_536;
const MODEL_FILES = /^config\.json$|\.(safetensors|gguf|bin|pt|pth)$/;

/**
 * Tells models apart without reading them whole: 64 hexadecimal digits that depend on name, size and 16 parts of 64 KB of the configuration
 * and each weight file of a model folder, or of one file, but not on its path. Throws a UserError when a file cannot be read.
 */
export async function modelFingerprint(path: string): Promise<string> {
  const hash = createHash("sha256");
  const isFolder = (await stat(path)).isDirectory();
  const names = isFolder ? (await readdir(path)).filter((name) => MODEL_FILES.test(name)).sort() : [basename(path)];
  for (const name of names) {
    const file = isFolder ? join(path, name) : path;
    const { handle, sizeBytes } = await openToRead(file, "a model file");
    try {
      hash.update(`${name} ${sizeBytes}\n`);
      for (const start of partStarts(sizeBytes)) {
        hash.update(await readBytes(handle, file, start, Math.min(PART_BYTES, sizeBytes - start)));
      }
    } finally {
      await handle.close();
    }
  }
  return hash.digest("hex");
}

/** Where the parts of a file begin: at its first bytes, before its last bytes and evenly in between; a small file is covered whole. */
function partStarts(sizeBytes: number): number[] {
  if (sizeBytes <= PARTS * PART_BYTES) {
    return Array.from({ length: Math.ceil(sizeBytes / PART_BYTES) }, (_, i) => i * PART_BYTES);
  }
  const step = (sizeBytes - PART_BYTES) / (PARTS - 1);
  return Array.from({ length: PARTS }, (_, i) => Math.floor(i * step));
}
