import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { holdLock } from "../base/lock.ts";
import { checkOutputFolder, isSamePath, makeFolder } from "../base/output.ts";

/** Files that make a folder a tokenizer, or a model or an adapter. */
const TOKENIZER_FILE = /^tokenizer\.(json|model)$/;
const WEIGHTS_FILE = /^(config|adapter_config)\.json$|\.(safetensors|gguf|bin)$/;

export interface ModelOutput {
  /** Whether a model, a tokenizer or an adapter that is there may be replaced. */
  overwrite: boolean | undefined;
  /** Files and folders that the command reads. */
  read: readonly (string | undefined)[];
  /** What is written: the files of a tokenizer, of a model without one, or both. */
  writes: "tokenizer" | "weights" | "model";
}

/**
 * Checks before work begins that a model, a tokenizer or an adapter can be written into a folder: the folder is writable, is none of those that
 * are read, and holds nothing that would be replaced without leave. Throws a UserError.
 */
export async function checkModelFolder(directory: string, { overwrite, read, writes }: ModelOutput): Promise<void> {
  await checkOutputFolder(directory);
  for (const path of read) {
    if (path !== undefined && (await isSamePath(directory, path))) {
      throw new UserError(`${directory}: is read by this command, and would be written over.`, {
        hint: "Give another folder with --output DIR.",
      });
    }
  }
  if (overwrite) return;
  const names = await readdir(directory).catch(() => []);
  const there = names.find(
    (name) =>
      (writes !== "weights" && TOKENIZER_FILE.test(name)) || (writes !== "tokenizer" && WEIGHTS_FILE.test(name)),
  );
  if (there === undefined) return;
  throw new UserError(`${directory}: already has ${there}.`, {
    hint: "Give another folder, or --overwrite to replace what is there.",
  });
}

/** Runs work that writes into a folder while no other process writes into it. */
export async function holdingFolder<T>(directory: string, work: () => Promise<T>): Promise<T> {
  await makeFolder(directory);
  const release = await holdLock(join(directory, "write.lock"), directory);
  try {
    return await work();
  } finally {
    await release();
  }
}
