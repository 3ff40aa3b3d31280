import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { copyFileAtomic } from "../base/files.ts";
import { missingModelHint } from "../base/path-hints.ts";
import { withCommandPieces } from "./command-pieces.ts";
import { loadLlama2cTokenizer } from "./llama2c.ts";
import { loadSentencePiece, type TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";
import {
  GENERATION_CONFIG_FILE,
  readTokenizerSettings,
  TOKENIZER_CONFIG_FILE,
  type TokenizerSettings,
} from "./tokenizer-config.ts";
import { loadTokenizerJson } from "./tokenizer-json.ts";

const SENTENCEPIECE_FILE = "tokenizer.model";
const TOKENIZERS_FILE = "tokenizer.json";
const LLAMA2C_FILE = /^tok.*\.bin$/;

/** What the code of one family of models changes in its SentencePiece tokenizer, and how the files name that family. */
export interface TokenizerRule {
  /** The `model_type` of config.json. */
  modelType: string;
  /** The `tokenizer_class` of tokenizer_config.json. */
  tokenizerClass: string;
  /** Pieces after the file's own. */
  commandPieces: readonly string[];
}

export interface OpenTokenizerOptions extends TokenizerExpectations {
  /** The rules of the families that have one; without rules a tokenizer is what its files say. */
  rules?: readonly TokenizerRule[];
  /** The `model_type` of the tokenizer's model, if no config.json next to the tokenizer names it. */
  modelType?: string;
}

/**
 * Opens the tokenizer of a model folder (tokenizer.model, tokenizer.json, or llama2.c's tok*.bin), or a tokenizer file, with the marks that
 * the configuration next to it names. Throws a UserError for a tokenizer that is missing, broken or not supported.
 */
export async function openTokenizer(path: string, options: OpenTokenizerOptions = {}): Promise<Tokenizer> {
  const file = await findTokenizerFile(path);
  if (file.endsWith(".bin")) return openLlama2c(file, options);
  const settings = await readTokenizerSettings(dirname(file));
  if (file.endsWith(".json")) return loadTokenizerJson(file, settings, options);
  const tokenizer: Tokenizer = await loadSentencePiece(file, options);
  const rule = ruleFor(settings, options);
  if (rule) return withCommandPieces(tokenizer, rule.commandPieces);
  return settings.addsBos ? tokenizer : { ...tokenizer, bosId: null };
}

function ruleFor(
  settings: TokenizerSettings,
  { rules = [], modelType }: OpenTokenizerOptions,
): TokenizerRule | undefined {
  return rules.find(
    (rule) =>
      rule.modelType === modelType ||
      rule.modelType === settings.modelType ||
      rule.tokenizerClass === settings.tokenizerClass,
  );
}

/**
 * Copies the tokenizer that {@link openTokenizer} would open into a model folder, under the name by which it is found there, with the
 * configuration next to it.
 */
export async function copyTokenizer(path: string, directory: string): Promise<void> {
  const file = await findTokenizerFile(path);
  if (file.endsWith(".bin")) {
    await copyFileAtomic(file, join(directory, `tok-${basename(file).replace(/^tok-?/, "")}`));
    return;
  }
  const isJson = file.endsWith(".json");
  await copyFileAtomic(file, join(directory, isJson ? TOKENIZERS_FILE : SENTENCEPIECE_FILE));
  for (const name of [TOKENIZER_CONFIG_FILE, ...(isJson ? [GENERATION_CONFIG_FILE] : [])]) {
    const source = join(dirname(file), name);
    if (await exists(source)) await copyFileAtomic(source, join(directory, name));
  }
}

/** The tokenizer file of a model folder, or the file itself; throws a UserError where there is none, or more than one. */
export async function findTokenizerFile(path: string): Promise<string> {
  if (await isFile(path)) return path;
  for (const name of [SENTENCEPIECE_FILE, TOKENIZERS_FILE]) {
    if (await exists(join(path, name))) return join(path, name);
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

async function openLlama2c(file: string, { expectedPieces }: TokenizerExpectations): Promise<Tokenizer> {
  const tokenizer = await loadLlama2cTokenizer(file);
  const { vocabularySize } = tokenizer;
  if (expectedPieces === undefined || expectedPieces === vocabularySize) return tokenizer;
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

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
