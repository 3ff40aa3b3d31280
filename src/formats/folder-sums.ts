import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { showValue, UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { crc32, sumText } from "./crc32.ts";
import { readJsonObject } from "./json-file.ts";
import type { Checksums, TensorSource } from "./tensor-source.ts";

/** The file that keeps the checksums of a folder's files. Other tools do not know it, and may rewrite the files next to it. */
export const SUMS_FILE = "checksums.json";

/** Checksums of a folder: of small files by name, of weights as {@link Checksums}. */
export interface FolderSums {
  files: Checksums;
  weights: Checksums;
}

/** The CRC-32 of a whole file, which must fit into memory. */
export async function fileSum(file: string): Promise<string> {
  return sumText(crc32(await readFile(file)));
}

/** The sums of all tensors of a source and of its headers; reads every tensor. */
export async function sumsOfTensors(source: TensorSource): Promise<Checksums> {
  for (const name of source.tensors.keys()) await source.read(name);
  return { ...source.checks.sums };
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

/** The checksums of a folder; null where it has none. Throws a UserError for a file that holds none. */
export async function readFolderSums(directory: string): Promise<FolderSums | null> {
  const file = join(directory, SUMS_FILE);
  if (!existsSync(file)) return null;
  const { files, weights } = await readJsonObject(file, "the checksums of a folder");
  for (const sums of [files, weights]) {
    const isObject = typeof sums === "object" && sums !== null;
    if (!isObject || !Object.values(sums).every((sum) => typeof sum === "string")) {
      throw new UserError(`${file}: has ${showValue(sums)}, expected checksums by name.`);
    }
  }
  return { files, weights } as FolderSums;
}

/** Expects the weights of a folder to have the sums in its checksums.json, where it has one. Throws a UserError for a header that has not. */
export async function expectFolderSums(directory: string, source: TensorSource): Promise<void> {
  const sums = await readFolderSums(directory);
  if (sums) source.checks.expect(sums.weights, hintOf(directory));
}

/** Checks the small files in a folder's checksums.json. Throws a UserError for one with another sum; a missing file is left to its reader. */
export async function checkFolderFiles(directory: string): Promise<void> {
  const { files } = (await readFolderSums(directory)) ?? { files: {} };
  for (const [name, expected] of Object.entries(files)) {
    const file = join(directory, name);
    if (!existsSync(file)) continue;
    const sum = await fileSum(file);
    if (sum === expected) continue;
    throw new UserError(`${file}: is damaged or was changed: its checksum is ${sum}, expected ${expected}.`, {
      hint: hintOf(directory),
    });
  }
}

const hintOf = (directory: string) =>
  `Restore the file from a copy. If you changed it yourself, delete ${join(directory, SUMS_FILE)}.`;
