import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { loadSentencePiece, type TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";

const SENTENCEPIECE_FILE = "tokenizer.model";
const TOKENIZERS_FILE = "tokenizer.json";

/** Opens the tokenizer of a model folder, or a tokenizer file itself. Throws a UserError that says what was looked for. */
export async function openTokenizer(path: string, expectations: TokenizerExpectations = {}): Promise<Tokenizer> {
  if (await isFile(path)) {
    if (basename(path).endsWith(".json")) throw notYetRead(path);
    return loadSentencePiece(path, expectations);
  }
  const file = join(path, SENTENCEPIECE_FILE);
  if (await exists(file)) return loadSentencePiece(file, expectations);
  if (await exists(join(path, TOKENIZERS_FILE))) throw notYetRead(join(path, TOKENIZERS_FILE));
  throw new UserError(`${path}: has no tokenizer, expected a file ${SENTENCEPIECE_FILE} in it.`, {
    hint: "Is this the folder of a whole checkpoint?",
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
