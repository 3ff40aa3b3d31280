import { showValue, UserError } from "../base/errors.ts";
import { type JsonObject, readJsonObject } from "./bounded-json.ts";
import { BYTE_CHARACTERS, bytesOf, createByteLevelEncoder } from "./byte-level.ts";
import type { TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Mark, TokenizerSettings } from "./tokenizer-config.ts";
import { type AddedPiece, readTokenizerFile } from "./tokenizer-json-file.ts";

/** Qwen3's file has 11 MB. */
export const MAX_TOKENIZER_JSON_BYTES = 48 * 2 ** 20;

export interface TokenizerJson extends Tokenizer {
  readonly kind: "tokenizer.json";
}

/** Reads a `tokenizer.json` file. Throws a UserError that names the file and the wrong or unsupported item. */
export async function loadTokenizerJson(
  file: string,
  settings: TokenizerSettings,
  { expectedPieces }: TokenizerExpectations = {},
): Promise<TokenizerJson> {
  const value = await readJsonObject(file, "a tokenizer of Hugging Face's tokenizers", MAX_TOKENIZER_JSON_BYTES);
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
 * Makes a tokenizer of a parsed `tokenizer.json` with byte-level BPE; errors use `name`. Text that looks like an added token is cut like any
 * other. Throws a UserError.
 */
export function createTokenizerJson(
  value: JsonObject,
  settings: Pick<TokenizerSettings, "directory" | "bos" | "eos" | "pad" | "addsBos">,
  name: string,
): TokenizerJson {
  const { idByPiece, added, joins, ...file } = readTokenizerFile(value, name);
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
  const encode = createByteLevelEncoder(
    {
      normalization: file.normalization,
      words: file.words,
      byteIds: Int32Array.from(BYTE_CHARACTERS, (character) => idByPiece.get(character) as number),
      joins,
      wholeWords: file.ignoresMerges ? idByPiece : null,
    },
    name,
  );
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
      // Invalid UTF-8 becomes U+FFFD as in the library's Rust original: one for each maximal beginning of a character.
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
    },
    pieceOf,
    idOf,
  };
}
