import { showValue, UserError } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { type JsonObject, readJsonObject } from "./bounded-json.ts";
import { BYTE_CHARACTERS, bytesOf, createByteLevelEncoder } from "./byte-level.ts";
import { createCharacterEncoder } from "./character-bpe.ts";
import { createTokenFinder } from "./find-tokens.ts";
import type { TokenizerExpectations } from "./sentencepiece.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Mark, TokenizerSettings } from "./tokenizer-config.ts";
import { type PrefixSpace, readTokenizerFile, type TokenizerFile } from "./tokenizer-json-file.ts";

/** Qwen3's file has 11 MB. */
const MAX_TOKENIZER_JSON_BYTES = 48 * 2 ** 20;

export interface TokenizerJson extends Tokenizer {
  readonly kind: "tokenizer.json";
  encodePlain(text: string): number[];
}

/** The settings of {@link TokenizerSettings} that a tokenizer.json is read with. */
export type TokenizerJsonSettings = Pick<TokenizerSettings, "directory" | "bos" | "eos" | "pad"> & {
  unk?: Mark;
  addsBos: boolean | null;
  /** How transformers' LlamaTokenizer sets spaces; null where the file is read as it is. */
  prefixSpace?: PrefixSpace | null;
  /** Whether tokenizer_config.json sets add_prefix_space for a class that honours it. */
  setsSpaceBeforeWords?: boolean;
};

/** Reads a `tokenizer.json` file. Throws a UserError that names the file and the wrong or unsupported item. */
export async function readTokenizerJson(
  folder: Folder,
  name: string,
  settings: TokenizerJsonSettings,
  { expectedPieces }: TokenizerExpectations = {},
): Promise<{ tokenizer: TokenizerJson; content: { kind: "tokenizer.json"; file: TokenizerFile } }> {
  const file = folder.path(name);
  const value = await readJsonObject(
    folder,
    name,
    "a tokenizer of Hugging Face's tokenizers",
    MAX_TOKENIZER_JSON_BYTES,
  );
  const parsed = readTokenizerFile(value, file, settings.prefixSpace);
  const tokenizer = createTokenizer(parsed, settings, file);
  if (expectedPieces === undefined || expectedPieces === tokenizer.vocabularySize) {
    return { tokenizer, content: { kind: "tokenizer.json", file: parsed } };
  }
  throw new UserError(
    `${file}: the tokenizer has ${tokenizer.vocabularySize} pieces, the model says ${expectedPieces}.`,
    {
      hint: "Does the tokenizer belong to this model?",
    },
  );
}

/**
 * Makes a tokenizer of a parsed `tokenizer.json` with BPE, over bytes or over characters; errors use `name`. Added tokens are found in a text
 * as Hugging Face's tokenizers find them. Throws a UserError.
 */
export function createTokenizerJson(value: JsonObject, settings: TokenizerJsonSettings, name: string): TokenizerJson {
  return createTokenizer(readTokenizerFile(value, name, settings.prefixSpace), settings, name);
}

function createTokenizer(file: TokenizerFile, settings: TokenizerJsonSettings, name: string): TokenizerJson {
  const { model, added } = file;
  if (file.form.kind === "bytes" && settings.setsSpaceBeforeWords) {
    throw new UserError(
      `${settings.directory}: sets add_prefix_space for a byte-level tokenizer, which is not supported.`,
      {
        hint: "It is in tokenizer_config.json.",
      },
    );
  }
  const pieces: string[] = [];
  for (const [piece, id] of model.idByPiece) pieces[id] = piece;
  const addedIds = new Map<string, number>();
  for (const piece of added) {
    pieces[piece.id] = piece.text;
    addedIds.set(piece.text, piece.id);
  }
  const idOf = (piece: string): number | null => addedIds.get(piece) ?? model.idByPiece.get(piece) ?? null;
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
  const [firstBegin = null] = file.beginIds ?? [];
  const addsBos = settings.addsBos ?? (file.beginIds === null || firstBegin !== null);
  const unkId = settings.unk && "piece" in settings.unk ? idOf(settings.unk.piece) : null;
  const encode = createEncoder(file, name);
  return {
    kind: "tokenizer.json",
    vocabularySize: pieces.length,
    bosId: addsBos ? (idOfMark(settings.bos, "bos_token") ?? firstBegin) : null,
    eosId: idOfMark(settings.eos, "eos_token"),
    padId: idOfMark(settings.pad, "pad_token"),
    unkId: file.form.kind === "bytes" ? null : (model.fallback.unkId ?? unkId),
    encode: (text) => encode(text, false),
    encodePlain: (text) => encode(text, true),
    encodeAll: (texts) => texts.map((text) => encode(text, false)),
    decode: createDecoder(file, pieceOf),
    pieceOf,
    idOf,
  };
}

/** Finds added tokens in the text, then in what the normalizer makes of it, and cuts what is left. */
function createEncoder(file: TokenizerFile, name: string): (text: string, keepsSpecials: boolean) => number[] {
  const { added, normalizer } = file;
  const inText = added.filter(({ normalized }) => !normalized);
  const patterns = new Map(added.map((token) => [token, normalizer.normalize(token.text)]));
  const inNormalized = added.filter((token) => token.normalized && patterns.get(token) !== "");
  const findInText = createTokenFinder(inText);
  const findInNormalized = createTokenFinder(
    inNormalized,
    inNormalized.map((token) => patterns.get(token) as string),
  );
  const cut = createCutter(file, name);
  return (text, keepsSpecials) => {
    const ids: number[] = [];
    for (const [i, part] of findInText(text, keepsSpecials).entries()) {
      if (typeof part !== "string") {
        ids.push(part.id);
        continue;
      }
      for (const [j, rest] of findInNormalized(normalizer.normalize(part), keepsSpecials).entries()) {
        if (typeof rest !== "string") ids.push(rest.id);
        else cut(rest, i === 0 && j === 0, ids);
      }
    }
    return ids;
  };
}

/** The function that cuts normalised text without added tokens and adds the ids to a list. */
function createCutter({ form, model }: TokenizerFile, name: string) {
  if (form.kind === "bytes") {
    const encode = createByteLevelEncoder(
      {
        words: form.words,
        byteIds: Int32Array.from(BYTE_CHARACTERS, (character) => model.idByPiece.get(character) as number),
        joins: model.joins,
        wholeWords: model.ignoresMerges ? model.idByPiece : null,
      },
      name,
    );
    return (text: string, _isStart: boolean, ids: number[]) => encode(text, ids);
  }
  const encodeWord = createCharacterEncoder(model, name);
  return (text: string, isStart: boolean, ids: number[]) => {
    for (const word of form.words(wellFormed(text), isStart)) for (const id of encodeWord(word)) ids.push(id);
  };
}

/** Half of a surrogate pair cannot be written as UTF-8. */
const wellFormed = (text: string) => (/\p{Surrogate}/u.test(text) ? text.replace(/\p{Surrogate}/gu, "\ufffd") : text);

/** The library decodes an added token to what was looked for: its normalised text. */
function createDecoder(
  { form, added, normalizer }: TokenizerFile,
  pieceOf: (id: number) => string,
): Tokenizer["decode"] {
  const addedTexts = new Map(
    added.map(({ id, text, special, normalized }) => [
      id,
      special ? "" : normalized ? normalizer.normalize(text) : text,
    ]),
  );
  if (form.kind === "texts") {
    return (ids) => {
      const pieces: string[] = [];
      for (const id of ids) {
        const piece = addedTexts.get(id) ?? pieceOf(id);
        if (piece !== "") pieces.push(piece);
      }
      return form.decode(pieces);
    };
  }
  return (ids) => {
    const bytes: number[] = [];
    for (const id of ids) {
      const text = addedTexts.get(id);
      for (const byte of text === undefined ? bytesOf(pieceOf(id)) : new TextEncoder().encode(text)) bytes.push(byte);
    }
    // Invalid UTF-8 becomes U+FFFD as in the library's Rust original: one for each maximal beginning of a character.
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  };
}
