import { showValue, UserError } from "../base/errors.ts";
import { type Folder, readFolderBytes } from "../base/folder.ts";
import { crc32, sumText } from "./crc32.ts";
import { readFolderJson } from "./json-object.ts";
import { MAX_READ_BYTES } from "./read-bytes.ts";
import type { Checksums, TensorSource } from "./tensor-source.ts";

/** The file that keeps the checksums of a folder's files. Other tools do not know it, and may rewrite the files next to it. */
export const SUMS_FILE = "checksums.json";

/** Checksums of a folder: of small files by name, of weights as {@link Checksums}. */
export interface FolderSums {
  files: Checksums;
  weights: Checksums;
}

/** The sums of all tensors of a source and of its headers; reads every tensor. */
export async function sumsOfTensors(source: TensorSource): Promise<Checksums> {
  for (const name of source.tensors.keys()) await source.read(name);
  return { ...source.checks.sums };
}

/** The checksums of a folder; null where it has none. Throws a UserError for a file that holds none. */
export async function readFolderSums(folder: Folder): Promise<FolderSums | null> {
  if (!folder.has(SUMS_FILE)) return null;
  const file = folder.path(SUMS_FILE);
  const { files, weights } = await readFolderJson(folder, SUMS_FILE, "the checksums of a folder");
  for (const sums of [files, weights]) {
    const isObject = typeof sums === "object" && sums !== null;
    if (!isObject || !Object.values(sums).every((sum) => typeof sum === "string")) {
      throw new UserError(`${file}: has ${showValue(sums)}, expected checksums by name.`);
    }
  }
  return { files, weights } as FolderSums;
}

/** Expects the weights of a folder to have the sums in its checksums.json, where it has one. Throws a UserError for a header that has not. */
export async function expectFolderSums(folder: Folder, source: TensorSource): Promise<void> {
  const sums = await readFolderSums(folder);
  if (sums) source.checks.expect(sums.weights, hintOf(folder));
}

/** Checks the small files in a folder's checksums.json. Throws a UserError for one with another sum; a missing file is left to its reader. */
export async function checkFolderFiles(folder: Folder): Promise<void> {
  const { files } = (await readFolderSums(folder)) ?? { files: {} };
  for (const [name, expected] of Object.entries(files)) {
    if (!folder.has(name)) continue;
    const sum = sumText(crc32(await readFolderBytes(folder, name, "a file with a checksum", MAX_READ_BYTES)));
    if (sum === expected) continue;
    throw new UserError(
      `${folder.path(name)}: is damaged or was changed: its checksum is ${sum}, expected ${expected}.`,
      {
        hint: hintOf(folder),
      },
    );
  }
}

const hintOf = (folder: Folder) =>
  `Restore the file from a copy. If you changed it yourself, delete ${folder.path(SUMS_FILE)}.`;
