import { showValue, UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { ADDED_TOKENS_FILE, type AddedToken, tokensToAdd, withAddedTokens } from "./added-tokens.ts";
import { withCommandPieces } from "./command-pieces.ts";
import { readSentencePiece, type TokenizerExpectations, withDummyPrefix } from "./sentencepiece.ts";
import type { SentencePieceModel } from "./sentencepiece-model.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { readTokenizerSettings, type TokenizerSettings } from "./tokenizer-config.ts";
import { readTokenizerJson, type TokenizerJsonSettings } from "./tokenizer-json.ts";
import type { TokenizerFile } from "./tokenizer-json-file.ts";

export const SENTENCEPIECE_FILE = "tokenizer.model";
export const TOKENIZERS_FILE = "tokenizer.json";

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
 * Reads the tokenizer file `name` of a folder, a SentencePiece model or tokenizer.json, with the marks that the configuration next to it
 * names. Throws a UserError for a tokenizer that is broken or not supported.
 */
export async function readTokenizer(
  folder: Folder,
  name: string,
  options: OpenTokenizerOptions = {},
): Promise<OpenedTokenizer> {
  const file = folder.path(name);
  const settings = await readTokenizerSettings(folder);
  const rule = ruleFor(settings, options);
  if (name.endsWith(".json")) {
    const own = { ...settings, ...spacesOfJson(settings, rule) };
    const { tokenizer, content } = await readTokenizerJson(folder, name, own, options);
    checkAdded(tokenizer, settings, file);
    return { tokenizer: expectSpecials(tokenizer, settings), file, settings, content };
  }
  const written = await readSentencePiece(folder, name, options);
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
