import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { labelSetToJson } from "../data/label-set.ts";
import { SUMS_FILE } from "../formats/folder-sums.ts";
import type { Run } from "./run.ts";

const DIGITS = 16;

type FingerprintedRun = Pick<Run, "recipe" | "labels" | "extractor" | "folder">;

/**
 * Tells trained runs apart in what they extract: 16 hexadecimal digits that depend on the recipe, the labels, the settings of decoding and the
 * checksums of the trained weights, but not on the run's path.
 */
export async function runFingerprint({ recipe, labels, extractor, folder }: FingerprintedRun): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([recipe, labelSetToJson(labels), extractor.settings, extractor.mixture ?? null]));
  for (const directory of [folder.directory, folder.model]) {
    const file = join(directory, SUMS_FILE);
    if (existsSync(file)) hash.update(await readFile(file));
  }
  return hash.digest("hex").slice(0, DIGITS);
}
