import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { copyFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { missingModelHint } from "../base/path-hints.ts";
import { ADDED_TOKENS_FILE, SPECIAL_TOKENS_FILE } from "./added-tokens.ts";
import { loadLlama2cTokenizer } from "./llama2c.ts";
import {
  type OpenedTokenizer,
  type OpenTokenizerOptions,
  type PieceTable,
  readTokenizer,
  SENTENCEPIECE_FILE,
  TOKENIZERS_FILE,
} from "./read-tokenizer.ts";
import type { TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";
import {
  GENERATION_CONFIG_FILE,
  readTokenizerSettings,
  TOKENIZER_CONFIG_FILE,
  type TokenizerSettings,
} from "./tokenizer-config.ts";

const LLAMA2C_FILE = /^tok.*\.bin$/;
/** The chat template where it has a file of its own. */
export const CHAT_TEMPLATE_FILE = "chat_template.jinja";
const MORE_TEMPLATES_FOLDER = "additional_chat_templates";
/** Files that transformers looks for next to a tokenizer. */
const FILES_BESIDE = [
  ...[TOKENIZER_CONFIG_FILE, ADDED_TOKENS_FILE, SPECIAL_TOKENS_FILE, GENERATION_CONFIG_FILE],
  ...[CHAT_TEMPLATE_FILE, "chat_template.json", "vocab.json", "merges.txt"],
];
/** The Python code of a tokenizer that transformers does not have. */
const AUTHORS_CODE = /^tokenization_\w+\.py$/;

/**
 * Opens the tokenizer of a model folder (tokenizer.model, tokenizer.json, or llama2.c's tok*.bin), or a tokenizer file, with the marks that
 * the configuration next to it names. Throws a UserError for a tokenizer that is missing, broken or not supported.
 */
export async function openTokenizer(path: string, options: OpenTokenizerOptions = {}): Promise<Tokenizer> {
  return (await openTokenizerParts(path, options)).tokenizer;
}

/** As {@link openTokenizer}, for writing the tokenizer in another form. */
export async function openTokenizerParts(path: string, options: OpenTokenizerOptions = {}): Promise<OpenedTokenizer> {
  const file = await findTokenizerFile(path);
  const folder = nodeFolder(dirname(file));
  if (file.endsWith(".bin")) return openLlama2c(file, await readTokenizerSettings(folder), options);
  return readTokenizer(folder, basename(file), options);
}

/**
 * Copies the tokenizer that {@link openTokenizer} would open into a model folder, under the name by which it is found there, with all files
 * next to it that belong to it.
 */
export async function copyTokenizer(path: string, directory: string): Promise<void> {
  for (const { source, name } of await tokenizerFiles(path)) await copyFileAtomic(source, join(directory, name));
}

/** The files of a tokenizer with their names in a model folder; the first is the one that {@link openTokenizer} opens. */
export async function tokenizerFiles(path: string): Promise<{ source: string; name: string }[]> {
  const file = await findTokenizerFile(path);
  if (file.endsWith(".bin")) return [{ source: file, name: `tok-${basename(file).replace(/^tok-?/, "")}` }];
  const folder = dirname(file);
  const own = file.endsWith(".json") ? TOKENIZERS_FILE : SENTENCEPIECE_FILE;
  const names = [...FILES_BESIDE];
  // Next to a SentencePiece file of another name, a tokenizer.json may be anybody's.
  if (basename(file) === SENTENCEPIECE_FILE) names.push(TOKENIZERS_FILE);
  names.push(...(await namesIn(folder)).filter((name) => AUTHORS_CODE.test(name)));
  const templates = await namesIn(join(folder, MORE_TEMPLATES_FOLDER));
  names.push(...templates.filter((name) => name.endsWith(".jinja")).map((name) => join(MORE_TEMPLATES_FOLDER, name)));
  const files = [{ source: file, name: own }];
  for (const name of names) {
    const source = join(folder, name);
    if (await isThere(source)) files.push({ source, name });
  }
  return files;
}

const namesIn = async (folder: string): Promise<string[]> => (await readdir(folder).catch(() => [])).sort();

/** The tokenizer file of a model folder, or the file itself; throws a UserError where there is none, or more than one. */
export async function findTokenizerFile(path: string): Promise<string> {
  if (await isFile(path)) return path;
  for (const name of [SENTENCEPIECE_FILE, TOKENIZERS_FILE]) {
    if (await isThere(join(path, name))) return join(path, name);
  }
  const found = (await readdir(path)).filter((name) => LLAMA2C_FILE.test(name)).sort();
  if (found.length === 1) return join(path, found[0]);
  if (found.length > 1) {
    throw new UserError(`${path}: has ${found.length} tokenizers (${found.join(", ")}), expected one.`, {
      hint: "Give the path of the one that belongs to the model.",
    });
  }
  throw new UserError(`${path}: has no tokenizer, expected a file ${SENTENCEPIECE_FILE} or ${TOKENIZERS_FILE} in it.`, {
    hint: "Is this the folder of a whole checkpoint?",
  });
}

/** llama2.c has no files next to its tokenizer. */
async function openLlama2c(
  file: string,
  settings: TokenizerSettings,
  { expectedPieces }: TokenizerExpectations,
): Promise<OpenedTokenizer> {
  const tokenizer = await loadLlama2cTokenizer(file);
  const { vocabularySize, model } = tokenizer;
  const nothing = { commandPieces: [], beginPieces: [], added: [] };
  const content: PieceTable = { kind: "pieces", model, ...nothing, prefixesEveryPart: true };
  if (expectedPieces === undefined || expectedPieces === vocabularySize) return { tokenizer, file, settings, content };
  throw new UserError(`${file}: the tokenizer has ${vocabularySize} pieces, the model says ${expectedPieces}.`, {
    hint: "Does the tokenizer belong to this model?",
  });
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    throw new UserError(`${path}: cannot be read (${messageOf(error)}), expected a model folder or a tokenizer file.`, {
      hint: missingModelHint(path),
    });
  }
}

async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
