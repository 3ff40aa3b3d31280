import type { Folder } from "../base/folder.ts";
import { readFolderJson } from "../formats/json-object.ts";
import type { Checksums, TensorSource } from "../formats/tensor-source.ts";

/** The file of a run with the fingerprint and the checksums of the model that it started from. */
export const BASE_FILE = "base.json";

/**
 * Expects the weights of the base model to be those that a run started from, where it says so: a tensor that is not is an error when it is
 * read. `hint` says what the reader of the message can do.
 */
export async function expectBaseWeights(run: Folder, source: TensorSource, hint: string): Promise<void> {
  if (!run.has(BASE_FILE)) return;
  const { weights } = await readFolderJson(run, BASE_FILE, "the fingerprint of a run's base model");
  if (typeof weights === "object" && weights !== null) source.checks.expect(weights as Checksums, hint);
}
