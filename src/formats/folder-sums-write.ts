import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { crc32, sumText } from "./crc32.ts";
import { type FolderSums, SUMS_FILE } from "./folder-sums.ts";
import type { Checksums } from "./tensor-source.ts";

/** The CRC-32 of a whole file, which must fit into memory. */
export async function fileSum(file: string): Promise<string> {
  return sumText(crc32(await readFile(file)));
}

/** Writes the checksums of the named files of a folder that exist, and of weights, read back from the disk. */
export async function writeFolderSums(directory: string, names: readonly string[], weights: Checksums): Promise<void> {
  const files: Record<string, string> = {};
  for (const name of names) {
    if (existsSync(join(directory, name))) files[name] = await fileSum(join(directory, name));
  }
  const sums = { files, weights } satisfies FolderSums;
  await writeFileAtomic(join(directory, SUMS_FILE), `${JSON.stringify(sums, null, 1)}\n`);
}
