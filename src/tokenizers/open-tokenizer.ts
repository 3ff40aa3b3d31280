import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, showValue, UserError } from "../base/errors.ts";
import { copyFileAtomic } from "../base/files.ts";
import { missingModelHint } from "../base/path-hints.ts";
import {
  ADDED_TOKENS_FILE,
  type AddedToken,
  SPECIAL_TOKENS_FILE,
  tokensToAdd,
  withAddedTokens,
} from "./added-tokens.ts";
import { withCommandPieces } from "./command-pieces.ts";
import { loadLlama2cTokenizer } from "./llama2c.ts";
import { loadSentencePiece, type TokenizerExpectations, withDummyPrefix } from "./sentencepiece.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import type { Tokenizer } from "./tokenizer.ts";
import {
  GENERATION_CONFIG_FILE,
  readTokenizerSettings,
  TOKENIZER_CONFIG_FILE,
  type TokenizerSettings,
} from "./tokenizer-config.ts";
import { loadTokenizerJson, type TokenizerJsonSettings } from "./tokenizer-json.ts";
import type { TokenizerFile } from "./tokenizer-json-file.ts";

export const SENTENCEPIECE_FILE = "tokenizer.model";
export const TOKENIZERS_FILE = "tokenizer.json";
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

/** What the code of one family of models changes in its SentencePiece tokenizer, and how the files name that family. */
export interface TokenizerRule {
  /** The `model_type` of config.json. */
  modelType: string;
  /** The `tokenizer_class` of tokenizer_config.json. */
  tokenizerClass: string;
  /** Pieces after the file's own. */
  commandPieces: readonly string[];
  /** Those of them that other programs set before a text. */
  beginPieces?: readonly string[];
}

export interface OpenTokenizerOptions extends TokenizerExpectations {
  /** The rules of the families that have one; without rules a tokenizer is what its files say. */
  rules?: readonly TokenizerRule[];
  /** The `model_type` of the tokenizer's model, if no config.json next to the tokenizer names it. */
  modelType?: string;
}

/** A table of pieces by SentencePiece's rules, and what files and code next to it add. */
export interface PieceTable {
  kind: "pieces";
  /** With the dummy prefix that the tokenizer really sets. */
  model: SentencePieceModel;
  /** After the pieces. */
  commandPieces: readonly string[];
  /** Those of them that other programs set before a text. */
  beginPieces: readonly string[];
  /** After the command pieces. */
  added: readonly AddedToken[];
  /** Whether the text after an added token has the dummy prefix, too. */
  prefixesEveryPart: boolean;
}

/** An open tokenizer with what it was made of. */
export interface OpenedTokenizer {
  tokenizer: Tokenizer;
  file: string;
  settings: TokenizerSettings;
  content: PieceTable | { kind: "tokenizer.json"; file: TokenizerFile };
}

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
  const settings = await readTokenizerSettings(dirname(file));
  if (file.endsWith(".bin")) return openLlama2c(file, settings, options);
  const rule = ruleFor(settings, options);
  if (file.endsWith(".json")) {
    const own = { ...settings, ...spacesOfJson(settings, rule) };
    const { tokenizer, content } = await loadTokenizerJson(file, own, options);
    checkAdded(tokenizer, settings, file);
    return { tokenizer: expectSpecials(tokenizer, settings), file, settings, content };
  }
  const written = await loadSentencePiece(file, options);
  const { prefix, everyPart } = spacesOfSentencePiece(settings, rule, written.model.normalizer.addDummyPrefix);
  const tokenizer = withDummyPrefix(written, prefix);
  const commandPieces = rule?.commandPieces ?? [];
  const own = commandPieces.length > 0 ? withCommandPieces(tokenizer, commandPieces) : tokenizer;
  const added = tokensToAdd(own, settings.added);
  const rest = () => (everyPart ? own : withDummyPrefix(tokenizer, false));
  const whole = added.length > 0 ? withAddedTokens(own, added, rest()) : own;
  const { model } = tokenizer;
  const beginPieces = rule?.beginPieces ?? [];
  const content: PieceTable = {
    kind: "pieces",
    model,
    commandPieces,
    beginPieces,
    added,
    prefixesEveryPart: everyPart,
  };
  expectSpecials(whole, settings);
  return { tokenizer: settings.addsBos === false ? { ...whole, bosId: null } : whole, file, settings, content };
}

const LLAMA_CLASS = "LlamaTokenizer";
/** Classes of transformers that read tokenizer.json as it is. */
const PLAIN_CLASSES = ["PreTrainedTokenizer", "TokenizersBackend"];

/** The class that transformers opens the tokenizer with, without "Fast"; null where no file names it. */
const classOf = (settings: TokenizerSettings, rule: TokenizerRule | undefined) =>
  (settings.tokenizerClass ?? rule?.tokenizerClass)?.replace(/Fast$/, "") ?? null;

/**
 * Where SentencePiece sets its dummy prefix: what tokenizer_config.json says goes before the file's own setting. Text after an added token
 * has it as in transformers 5: its LlamaTokenizer sets it only there where `legacy` says so, other classes encode each part by itself.
 */
function spacesOfSentencePiece(
  settings: TokenizerSettings,
  rule: TokenizerRule | undefined,
  own: boolean,
): { prefix: boolean; everyPart: boolean } {
  const isLlama = (classOf(settings, rule) ?? LLAMA_CLASS) === LLAMA_CLASS;
  const { addPrefixSpace, legacy } = settings;
  return { prefix: addPrefixSpace ?? own, everyPart: legacy ?? !isLlama };
}

/** As transformers 5: its LlamaTokenizer sets spaces by tokenizer_config.json alone, whatever tokenizer.json says. */
function spacesOfJson(
  settings: TokenizerSettings,
  rule: TokenizerRule | undefined,
): Pick<TokenizerJsonSettings, "prefixSpace" | "setsSpaceBeforeWords"> {
  const { addPrefixSpace, legacy } = settings;
  const name = classOf(settings, rule);
  const setsSpaceBeforeWords = addPrefixSpace === true && !PLAIN_CLASSES.includes(name ?? "");
  if (name !== LLAMA_CLASS) return { prefixSpace: null, setsSpaceBeforeWords };
  return { prefixSpace: addPrefixSpace === false ? "never" : legacy ? "always" : "first", setsSpaceBeforeWords };
}

/** tokenizer.json names its own added tokens; files next to it may repeat them. */
function checkAdded(tokenizer: Tokenizer, settings: TokenizerSettings, file: string): void {
  const [missing] = tokensToAdd(tokenizer, settings.added);
  if (missing === undefined) return;
  throw new UserError(`${missing.where}: names ${showValue(missing.text)}, which ${file} does not have.`, {
    hint: "Save the tokenizer again with transformers, so that tokenizer.json has all tokens.",
  });
}

/** transformers gives a special token that no file has an id of its own choice; cut into pieces it would be another prompt. */
function expectSpecials(tokenizer: Tokenizer, { specials, directory }: TokenizerSettings): Tokenizer {
  const missing = specials.find((text) => tokenizer.idOf(text) === null);
  if (missing === undefined) return tokenizer;
  throw new UserError(`${directory}: names the special token ${showValue(missing)}, but no file gives its id.`, {
    hint: `Write it with its id into ${ADDED_TOKENS_FILE}, or remove it from additional_special_tokens.`,
  });
}

function ruleFor(
  settings: TokenizerSettings,
  { rules = [], modelType }: OpenTokenizerOptions,
): TokenizerRule | undefined {
  return (
    rules.find((rule) => rule.modelType === modelType) ??
    rules.find((rule) => rule.modelType === settings.modelType) ??
    rules.find((rule) => rule.tokenizerClass === settings.tokenizerClass)
  );
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
