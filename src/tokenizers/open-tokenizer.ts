import { copyFile, mkdir, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { loadLlama2cTokenizer } from "./llama2c.ts";
import { loadSentencePiece, type TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";

const SENTENCEPIECE_FILE = "tokenizer.model";
const TOKENIZERS_FILE = "tokenizer.json";
const LLAMA2C_FILE = /^tok.*\.bin$/;

/**
 * Opens the tokenizer of a model folder (tokenizer.model, or llama2.c's tok*.bin), or a tokenizer file itself. Throws a UserError that says
 * what was looked for.
 */
export async function openTokenizer(path: string, expectations: TokenizerExpectations = {}): Promise<Tokenizer> {
  const file = await findTokenizerFile(path);
  return file.endsWith(".bin") ? openLlama2c(file, expectations) : loadSentencePiece(file, expectations);
}

/** Copies the tokenizer that {@link openTokenizer} would open into a model folder, under the name by which it is found there. */
export async function copyTokenizer(path: string, directory: string): Promise<void> {
  const file = await findTokenizerFile(path);
  const name = file.endsWith(".bin") ? `tok-${basename(file).replace(/^tok-?/, "")}` : SENTENCEPIECE_FILE;
  await mkdir(directory, { recursive: true });
  await copyFile(file, join(directory, name));
}

async function findTokenizerFile(path: string): Promise<string> {
  if (await isFile(path)) {
    if (path.endsWith(".json")) throw notYetRead(path);
    return path;
  }
  const file = join(path, SENTENCEPIECE_FILE);
  if (await exists(file)) return file;
  if (await exists(join(path, TOKENIZERS_FILE))) throw notYetRead(join(path, TOKENIZERS_FILE));
  const found = (await readdir(path)).filter((name) => LLAMA2C_FILE.test(name)).sort();
  if (found.length === 1) return join(path, found[0]);
  if (found.length > 1) {
    throw new UserError(`${path}: has ${found.length} tokenizers (${found.join(", ")}), expected one.`, {
      hint: "Give the path of the one that belongs to the model.",
    });
  }
  throw new UserError(`${path}: has no tokenizer, expected a file ${SENTENCEPIECE_FILE} in it.`, {
    hint: "Is this the folder of a whole checkpoint?",
  });
}

async function openLlama2c(file: string, { expectedPieces }: TokenizerExpectations): Promise<Tokenizer> {
  const tokenizer = await loadLlama2cTokenizer(file);
  const { vocabularySize } = tokenizer;
  if (expectedPieces === undefined || expectedPieces === vocabularySize) return tokenizer;
  throw new UserError(`${file}: the tokenizer has ${vocabularySize} pieces, the model says ${expectedPieces}.`, {
    hint: "Does the tokenizer belong to this model?",
  });
}

function notYetRead(file: string): UserError {
  return new UserError(`${file}: is not read yet, expected ${SENTENCEPIECE_FILE} (SentencePiece).`, {
    hint: `Support for ${TOKENIZERS_FILE} comes with the Qwen family.`,
  });
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    throw new UserError(`${path}: cannot be read (${messageOf(error)}), expected a model folder or a tokenizer file.`);
  }
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
