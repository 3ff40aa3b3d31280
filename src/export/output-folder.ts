import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { holdLock } from "../base/lock.ts";
import { checkOutputFolder, isSamePath, makeFolder } from "../base/output.ts";

/** Files of a tokenizer, and files that make a folder a model or an adapter. */
const TOKENIZER_FILE =
  /^(tokenizer(_config)?\.json|tokenizer\.model|tok.*\.bin|(added_tokens|special_tokens_map|chat_template|vocab)\.json|merges\.txt|chat_template\.jinja)$/;
const WEIGHTS_FILE = /^(config|adapter_config)\.json$|\.(safetensors|gguf|bin)$/;

export interface ModelOutput {
  /** Whether a model, a tokenizer or an adapter that is there may be replaced. */
  overwrite: boolean | undefined;
  /** Files and folders that the command reads. */
  read: readonly (string | undefined)[];
  /** What is written: the files of a tokenizer, of a model or an adapter without one, both, or one file. */
  writes: "tokenizer" | "weights" | "model" | { file: string };
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
  const names = await namesIn(directory);
  const there = names.find((name) => isWritten(name, writes));
  if (there === undefined) return;
  throw new UserError(`${directory}: already has ${there}.`, {
    hint: "Give another folder, or --overwrite to replace what is there.",
  });
}

function isWritten(name: string, writes: ModelOutput["writes"]): boolean {
  if (typeof writes === "object") return name === writes.file;
  return (writes !== "weights" && isTokenizerFile(name)) || (writes !== "tokenizer" && WEIGHTS_FILE.test(name));
}

export const isTokenizerFile = (name: string) => TOKENIZER_FILE.test(name);

export const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);

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
