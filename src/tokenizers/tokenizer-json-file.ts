import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "./bounded-json.ts";
import { BYTE_CHARACTERS, GPT2_WORDS, SPLIT_WORDS, type WordPattern } from "./byte-level.ts";
import { llamaDecoder, readDecoder } from "./decoder-steps.ts";
import type { FoundToken } from "./find-tokens.ts";
import { type NormalizerSteps, readNormalizer } from "./normalizer-steps.ts";
import { metaspace, type PreTokenizer, readPreTokenizer } from "./pre-tokenizer-steps.ts";
import { type BpeFile, expectId, readBpe } from "./tokenizer-json-model.ts";

export interface AddedPiece extends FoundToken {
  /** Whether it is looked for in the normalised text. */
  normalized: boolean;
}

/** What the pieces of a file are: bytes as GPT-2 writes them, or texts. */
export type PieceForm =
  | { kind: "bytes"; words: readonly WordPattern[] }
  | { kind: "texts"; words: PreTokenizer; isolates: boolean; decode(pieces: string[]): string };

/** The content of a tokenizer.json with BPE. */
export interface TokenizerFile {
  normalizer: NormalizerSteps;
  form: PieceForm;
  model: BpeFile;
  added: AddedPiece[];
  /** The ids that the post-processor sets before a text; null where it sets none anywhere. */
  beginIds: readonly number[] | null;
}

/**
 * Where transformers sets a space before a text that goes into a LlamaTokenizer: `add_prefix_space` and `legacy` of tokenizer_config.json. They
 * replace the normalizer, pre_tokenizer and decoder of tokenizer.json.
 */
export type PrefixSpace = "always" | "first" | "never";

/**
 * Checks that a parsed tokenizer.json can cut every text and has an id for every result; errors use `name`. `prefixSpace`: how transformers'
 * LlamaTokenizer reads the file, where it belongs to one. Throws a UserError.
 */
export function readTokenizerFile(
  value: JsonObject,
  name: string,
  prefixSpace: PrefixSpace | null = null,
): TokenizerFile {
  const model = readBpe(value.model, name);
  const added = readAddedPieces(value.added_tokens, model.idByPiece, name);
  const ids = (piece: string) => added.find(({ text }) => text === piece)?.id ?? model.idByPiece.get(piece);
  const shared = { added, beginIds: readBeginIds(value.post_processor, ids, name) };
  if (isByteLevel(value)) {
    const words = readWords(value.pre_tokenizer, name);
    expectByteLevel(value.decoder, `${name}, decoder`);
    expectByteCharacters(model.idByPiece, name);
    return { ...shared, normalizer: readNormalizer(value.normalizer, name), form: { kind: "bytes", words }, model };
  }
  if (prefixSpace !== null) return { ...shared, ...llamaForm(model, prefixSpace, name) };
  const normalizer = readNormalizer(value.normalizer, name);
  const { words, marksStart, isolates } = readPreTokenizer(value.pre_tokenizer, `${name}, pre_tokenizer`);
  if (marksStart && normalizer.removesStart) {
    throw new UserError(`${name}: prepend_scheme is "first" after a normalizer that removes characters.`, {
      hint: "Save the tokenizer again with a current transformers.",
    });
  }
  const decode = readDecoder(value.decoder, `${name}, decoder`);
  return { ...shared, normalizer, form: { kind: "texts", words, isolates, decode }, model };
}

/** As tokenization_llama.py of transformers 5 makes a tokenizer of the pieces and merges of a file. */
function llamaForm(model: BpeFile, prefixSpace: PrefixSpace, name: string) {
  if (model.fallback.byteIds === null) {
    throw new UserError(`${name}: sets no byte_fallback, which transformers' LlamaTokenizer needs.`, {
      hint: 'If the file says everything, write "tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json.',
    });
  }
  const mark = metaspace(prefixSpace);
  const form: PieceForm = {
    kind: "texts",
    words: (text, isStart) => mark(text === "" ? [] : [text], isStart),
    isolates: false,
    decode: llamaDecoder(prefixSpace !== "never"),
  };
  return { normalizer: readNormalizer(null, name), form, model: { ...model, ignoresMerges: false } };
}

const partsOf = (value: unknown): unknown[] => {
  if (!isJsonObject(value)) return [];
  const parts = [value.pretokenizers, value.decoders, value.processors].find(Array.isArray);
  return parts ? parts : [value];
};

const isByteLevel = ({ pre_tokenizer: words, decoder }: JsonObject) =>
  [...partsOf(words), ...partsOf(decoder)].some((part) => isJsonObject(part) && part.type === "ByteLevel");

function readWords(value: unknown, name: string): WordPattern[] {
  const steps: unknown = isJsonObject(value) && value.type === "Sequence" ? value.pretokenizers : [value];
  const where = `${name}, pre_tokenizer`;
  const isList = Array.isArray(steps) && (steps.length === 1 || steps.length === 2);
  if (!isList) throw new UserError(`${where} is ${showValue(value)}, supported: Split and ByteLevel.`);
  const byteLevel = expectByteLevel(steps[steps.length - 1], where);
  if (byteLevel.add_prefix_space === true) {
    throw new UserError(`${where} sets add_prefix_space, which is not supported.`);
  }
  const last = byteLevel.use_regex === false ? [] : [GPT2_WORDS];
  if (steps.length === 1) return last;
  const split: unknown = steps[0];
  const pattern = isJsonObject(split) && isJsonObject(split.pattern) ? split.pattern.Regex : undefined;
  if (!isJsonObject(split) || split.type !== "Split" || split.behavior !== "Isolated" || split.invert === true) {
    throw new UserError(`${where} begins with ${showValue(split)}, supported: Split with behavior Isolated.`);
  }
  const words = typeof pattern === "string" ? SPLIT_WORDS.get(pattern) : undefined;
  if (words) return [words, ...last];
  throw new UserError(
    `${where} splits by ${showValue(pattern)}, supported: the expressions of Qwen2, Qwen2.5, Qwen3 and Llama-3.`,
  );
}

function expectByteLevel(value: unknown, where: string): JsonObject {
  if (isJsonObject(value) && value.type === "ByteLevel") return value;
  throw new UserError(`${where} is ${showValue(value)}, supported: ByteLevel.`);
}

function expectByteCharacters(idByPiece: ReadonlyMap<string, number>, name: string): void {
  for (const [byte, character] of BYTE_CHARACTERS.entries()) {
    if (!idByPiece.has(character))
      throw new UserError(`${name}: has no piece ${showValue(character)} for byte ${byte}.`);
  }
}

function readAddedPieces(value: unknown, idByPiece: ReadonlyMap<string, number>, name: string): AddedPiece[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new UserError(`${name}: added_tokens is ${showValue(value)}, expected a list.`);
  const pieceById = new Map<number, string>();
  for (const [piece, id] of idByPiece) pieceById.set(id, piece);
  const texts = new Set<string>();
  // As the library counts them: it ignores the id that the file gives.
  let nextId = idByPiece.size;
  return value.map((entry: unknown, i) => {
    const where = `${name}: added token ${i}`;
    if (!isJsonObject(entry) || typeof entry.content !== "string" || entry.content === "") {
      throw new UserError(`${where} is ${showValue(entry)}, expected an object with id and content.`);
    }
    const text = entry.content;
    const id = expectId(entry.id, `${where}, its id`);
    const other = pieceById.get(id);
    if (other !== undefined && other !== text) {
      throw new UserError(`${where} is ${showValue(text)} with id ${id}, which ${showValue(other)} has already.`);
    }
    const known = idByPiece.get(text);
    if (texts.has(text) || (known !== undefined && known !== id)) {
      throw new UserError(`${where} is ${showValue(text)}, which has another id already.`);
    }
    if (known === undefined && id !== nextId++) {
      throw new UserError(
        `${where} is ${showValue(text)} with id ${id}, expected ${nextId - 1}, the next after the pieces.`,
      );
    }
    pieceById.set(id, text);
    texts.add(text);
    return {
      id,
      text,
      special: entry.special === true,
      stripsLeft: entry.lstrip === true,
      stripsRight: entry.rstrip === true,
      singleWord: entry.single_word === true,
      normalized: typeof entry.normalized === "boolean" ? entry.normalized : entry.special !== true,
    };
  });
}

/** What TemplateProcessing sets before a single text. */
function readBeginIds(
  value: unknown,
  idOf: (piece: string) => number | undefined,
  name: string,
): readonly number[] | null {
  const template = partsOf(value).find((part) => isJsonObject(part) && part.type === "TemplateProcessing");
  if (!isJsonObject(template)) return null;
  if (!Array.isArray(template.single)) throw new UserError(`${name}: post_processor is ${showValue(template)}.`);
  const ids: number[] = [];
  for (const part of template.single as unknown[]) {
    const token = isJsonObject(part) && isJsonObject(part.SpecialToken) ? part.SpecialToken.id : undefined;
    if (typeof token !== "string") break;
    const entry = isJsonObject(template.special_tokens) ? template.special_tokens[token] : undefined;
    const named = isJsonObject(entry) && Array.isArray(entry.ids) ? (entry.ids as unknown[]) : [idOf(token)];
    for (const id of named) ids.push(expectId(id, `${name}: post_processor, ${showValue(token)}`));
  }
  return ids;
}
