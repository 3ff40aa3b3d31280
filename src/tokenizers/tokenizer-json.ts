import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "./bounded-json.ts";
import type { TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Mark, TokenizerSettings } from "./tokenizer-config.ts";

/** Qwen3's has 11 MB. */
const MAX_FILE_BYTES = 48 * 2 ** 20;
const MAX_PIECES = 1 << 20;
const NORMALIZERS = ["NFC", "NFD", "NFKC", "NFKD"];
/**
 * Splits text before the merging. Only known expressions are taken: one out of a hostile file could run for ever. Qwen2, Qwen2.5 and Qwen3
 * share this one; GPT-2's is built into the byte level.
 */
const QWEN_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** The part of the library that is used; its own type declarations do not resolve under Node's rules for modules. */
interface PlainEncoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
}

interface AddedPiece {
  id: number;
  text: string;
  special: boolean;
}

export interface TokenizerJson extends Tokenizer {
  readonly kind: "tokenizer.json";
}

/** Reads a `tokenizer.json` file; throws a UserError naming the file and what is wrong or not supported in it. */
export async function loadTokenizerJson(
  file: string,
  settings: TokenizerSettings,
  { expectedPieces }: TokenizerExpectations = {},
): Promise<TokenizerJson> {
  const value = await readJsonObject(file, "a tokenizer of Hugging Face's tokenizers", MAX_FILE_BYTES);
  const tokenizer = createTokenizerJson(value, settings, file);
  if (expectedPieces === undefined || expectedPieces === tokenizer.vocabularySize) return tokenizer;
  throw new UserError(
    `${file}: the tokenizer has ${tokenizer.vocabularySize} pieces, the model says ${expectedPieces}.`,
    {
      hint: "Does the tokenizer belong to this model?",
    },
  );
}

/**
 * Makes a tokenizer of a parsed `tokenizer.json` with byte-level BPE; `name` stands in errors. The library is given checked values only, and
 * no added tokens: text that looks like one is cut like any other. Throws a UserError.
 */
export function createTokenizerJson(
  value: JsonObject,
  settings: Pick<TokenizerSettings, "directory" | "bos" | "eos" | "pad" | "addsBos">,
  name: string,
): TokenizerJson {
  const normalizer = readNormalizer(value.normalizer, name);
  const preTokenizer = readPreTokenizer(value.pre_tokenizer, name);
  expectByteLevel(value.decoder, `${name}, decoder`);
  const { idByPiece, model } = readModel(value.model, name);
  const added = readAddedPieces(value.added_tokens, idByPiece, name);

  const pieces: string[] = [];
  for (const [piece, id] of idByPiece) pieces[id] = piece;
  const addedById = new Map<number, AddedPiece>();
  const addedIds = new Map<string, number>();
  for (const piece of added) {
    pieces[piece.id] = piece.text;
    addedById.set(piece.id, piece);
    addedIds.set(piece.text, piece.id);
  }
  const idOf = (piece: string): number | null => addedIds.get(piece) ?? idByPiece.get(piece) ?? null;
  const pieceOf = (id: number): string => {
    const piece = Number.isInteger(id) && id >= 0 ? pieces[id] : undefined;
    if (piece !== undefined) return piece;
    throw new UserError(`${name}: id ${id} is none of the tokenizer's ${pieces.length} pieces.`, {
      hint: "Is the tokenizer from the same checkpoint as the model?",
    });
  };
  const idOfMark = (mark: Mark, key: string): number | null => {
    if (mark === null) return null;
    const id = "id" in mark ? mark.id : idOf(mark.piece);
    if (id !== null && pieces[id] !== undefined) return id;
    throw new UserError(
      `${name}: has no piece ${showValue("id" in mark ? mark.id : mark.piece)}, which ${settings.directory} names as ${key}.`,
      { hint: "Are tokenizer_config.json and generation_config.json from this checkpoint?" },
    );
  };
  const plain: PlainEncoder = new HuggingFaceTokenizer(
    { normalizer, pre_tokenizer: preTokenizer, model, decoder: null, post_processor: null, added_tokens: [] },
    {},
  );
  const encode = (text: string): number[] => plain.encode(text, { add_special_tokens: false }).ids;
  return {
    kind: "tokenizer.json",
    vocabularySize: pieces.length,
    bosId: settings.addsBos ? idOfMark(settings.bos, "bos_token") : null,
    eosId: idOfMark(settings.eos, "eos_token"),
    padId: idOfMark(settings.pad, "pad_token"),
    unkId: null,
    encode,
    encodeAll: (texts) => texts.map(encode),
    decode(ids) {
      const bytes: number[] = [];
      for (const id of ids) {
        const piece = pieceOf(id);
        const special = addedById.get(id);
        if (special?.special) continue;
        for (const byte of special ? Buffer.from(piece) : bytesOf(piece)) bytes.push(byte);
      }
      // Bytes that are no UTF-8 become U+FFFD as in the library's Rust original: one for each longest beginning of a character.
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
    },
    pieceOf,
    idOf,
  };
}

/**
 * GPT-2's way to write bytes as visible characters (encoder.py of GPT-2): those that are visible in Latin-1 stand for themselves, the others
 * follow from U+0100 on.
 */
const BYTE_CHARACTERS: readonly string[] = (() => {
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const isVisible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(isVisible ? byte : 0x100 + hidden++);
  });
})();
const BYTE_OF_CHARACTER = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

function bytesOf(piece: string): number[] | Buffer {
  const bytes: number[] = [];
  for (const character of piece) {
    const byte = BYTE_OF_CHARACTER.get(character);
    // A piece that is not written in byte characters stands for its own text.
    if (byte === undefined) return Buffer.from(piece);
    bytes.push(byte);
  }
  return bytes;
}

function readNormalizer(value: unknown, name: string): { type: string } | null {
  if (value === undefined || value === null) return null;
  if (isJsonObject(value) && typeof value.type === "string" && NORMALIZERS.includes(value.type)) {
    return { type: value.type };
  }
  throw new UserError(`${name}: normalizer is ${showValue(value)}, supported: none, ${NORMALIZERS.join(", ")}.`);
}

function readPreTokenizer(value: unknown, name: string): JsonObject {
  const steps: unknown = isJsonObject(value) && value.type === "Sequence" ? value.pretokenizers : [value];
  const where = `${name}, pre_tokenizer`;
  const isList = Array.isArray(steps) && (steps.length === 1 || steps.length === 2);
  if (!isList) throw new UserError(`${where} is ${showValue(value)}, supported: Split and ByteLevel.`);
  const byteLevel = expectByteLevel(steps[steps.length - 1], where);
  if (byteLevel.add_prefix_space === true) {
    throw new UserError(`${where} sets add_prefix_space, which is not supported.`);
  }
  const last = { type: "ByteLevel", add_prefix_space: false, use_regex: byteLevel.use_regex !== false };
  if (steps.length === 1) return last;
  const split: unknown = steps[0];
  const pattern = isJsonObject(split) && isJsonObject(split.pattern) ? split.pattern.Regex : undefined;
  if (!isJsonObject(split) || split.type !== "Split" || split.behavior !== "Isolated" || split.invert === true) {
    throw new UserError(`${where} begins with ${showValue(split)}, supported: Split with behavior Isolated.`);
  }
  if (pattern !== QWEN_PATTERN) {
    throw new UserError(
      `${where} splits by ${showValue(pattern)}, supported: the expression of Qwen2, Qwen2.5 and Qwen3.`,
    );
  }
  return {
    type: "Sequence",
    pretokenizers: [{ type: "Split", pattern: { Regex: QWEN_PATTERN }, behavior: "Isolated", invert: false }, last],
  };
}

function expectByteLevel(value: unknown, where: string): JsonObject {
  if (isJsonObject(value) && value.type === "ByteLevel") return value;
  throw new UserError(`${where} is ${showValue(value)}, supported: ByteLevel.`);
}

/** Checks vocabulary and merges so far that every text can be cut and every result has an id. */
function readModel(value: unknown, name: string): { idByPiece: Map<string, number>; model: JsonObject } {
  if (!isJsonObject(value) || value.type !== "BPE") {
    const got = isJsonObject(value) ? `of type ${showValue(value.type)}` : showValue(value);
    throw new UserError(`${name}: the model is ${got}, supported: BPE.`);
  }
  for (const key of ["byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "dropout"]) {
    if (value[key]) throw new UserError(`${name}: the model sets ${key}, which is not supported.`);
  }
  const idByPiece = readVocabulary(value.vocab, name);
  const merges = readMerges(value.merges, idByPiece, name);
  const model = { type: "BPE", vocab: value.vocab, merges, ignore_merges: value.ignore_merges === true };
  return { idByPiece, model };
}

function readVocabulary(value: unknown, name: string): Map<string, number> {
  if (!isJsonObject(value)) throw new UserError(`${name}: the vocabulary is ${showValue(value)}, expected an object.`);
  const idByPiece = new Map<string, number>();
  const taken = new Set<number>();
  for (const [piece, id] of Object.entries(value)) {
    idByPiece.set(piece, expectId(id, `${name}: the id of piece ${showValue(piece)}`));
    if (taken.has(id as number)) throw new UserError(`${name}: two pieces have the id ${id}.`);
    taken.add(id as number);
  }
  for (const [byte, character] of BYTE_CHARACTERS.entries()) {
    if (!idByPiece.has(character))
      throw new UserError(`${name}: has no piece ${showValue(character)} for byte ${byte}.`);
  }
  return idByPiece;
}

function readMerges(value: unknown, idByPiece: ReadonlyMap<string, number>, name: string): [string, string][] {
  if (!Array.isArray(value) || value.length > MAX_PIECES) {
    const got = Array.isArray(value) ? `${value.length} entries` : showValue(value);
    throw new UserError(`${name}: merges is ${got}, expected a list of at most ${MAX_PIECES}.`);
  }
  return value.map((merge: unknown, i) => {
    const parts: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right]: unknown[] = Array.isArray(parts) && parts.length === 2 ? parts : [];
    if (typeof left !== "string" || typeof right !== "string" || !idByPiece.has(left) || !idByPiece.has(right)) {
      throw new UserError(`${name}: merge ${i} is ${showValue(merge)}, expected two pieces.`);
    }
    if (!idByPiece.has(left + right)) {
      throw new UserError(`${name}: merge ${i} gives ${showValue(left + right)}, which is no piece.`);
    }
    return [left, right];
  });
}

function readAddedPieces(value: unknown, idByPiece: ReadonlyMap<string, number>, name: string): AddedPiece[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new UserError(`${name}: added_tokens is ${showValue(value)}, expected a list.`);
  const pieceById = new Map<number, string>();
  for (const [piece, id] of idByPiece) pieceById.set(id, piece);
  const texts = new Set<string>();
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
    pieceById.set(id, text);
    texts.add(text);
    return { id, text, special: entry.special === true };
  });
}

function expectId(value: unknown, where: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_PIECES) return value;
  throw new UserError(`${where} is ${showValue(value)}, expected a whole number below ${MAX_PIECES}.`);
}
