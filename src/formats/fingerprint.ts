import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openToRead } from "../base/files.ts";
import { readBytes } from "./read-bytes.ts";

const SAMPLES = 16;
const SAMPLE_BYTES = 65_536;
const MODEL_FILES = /^config\.json$|\.(safetensors|gguf|bin|pt|pth)$/;

/**
 * Tells models apart without reading all of them: 64 hexadecimal digits from names, sizes and 16 samples of 64 KB of the configuration and
 * each weight file of a model folder, or of one file. Where the model lies makes no difference. Throws a UserError when a file cannot be read.
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
      for (const start of sampleStarts(sizeBytes)) {
        hash.update(await readBytes(handle, file, start, Math.min(SAMPLE_BYTES, sizeBytes - start)));
      }
    } finally {
      await handle.close();
    }
  }
  return hash.digest("hex");
}

/** Where the samples of a file begin: its first and last bytes and evenly between them; everything of a small file. */
function sampleStarts(sizeBytes: number): number[] {
  if (sizeBytes <= SAMPLES * SAMPLE_BYTES) {
    return Array.from({ length: Math.ceil(sizeBytes / SAMPLE_BYTES) }, (_, i) => i * SAMPLE_BYTES);
  }
  const step = (sizeBytes - SAMPLE_BYTES) / (SAMPLES - 1);
  return Array.from({ length: SAMPLES }, (_, i) => Math.floor(i * step));
}
