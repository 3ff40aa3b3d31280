import { UserError } from "../base/errors.ts";
import { type Folder, readFolderBytes } from "../base/folder.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { createSegmenter } from "./bpe.ts";
import { createNormalizer, SPACE_MARK } from "./normalizer.ts";
import { createPrefixTrie } from "./prefix-trie.ts";
import {
  BYTE,
  byteOfPiece,
  CONTROL,
  readModel,
  type SentencePieceModel,
  UNKNOWN,
  USER_DEFINED,
} from "./sentencepiece-model.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { decodeLossy } from "./utf8.ts";

const MAX_FILE_BYTES = 64 * 2 ** 20;

export interface SentencePieceTokenizer extends Tokenizer {
  readonly kind: "sentencepiece";
  readonly unkId: number;
  /** What it was made of. */
  readonly model: SentencePieceModel;
}

export interface TokenizerExpectations {
  /** The number of pieces in the model's configuration. */
  expectedPieces?: number;
}

/** Reads the `tokenizer.model` file of a folder. Throws a UserError that names the file and the problem. */
export async function readSentencePiece(
  folder: Folder,
  name: string,
  expectations: TokenizerExpectations = {},
): Promise<SentencePieceTokenizer> {
  const bytes = await readFolderBytes(folder, name, "a SentencePiece model", MAX_FILE_BYTES);
  return parseSentencePiece(bytes, folder.path(name), expectations);
}

/** Makes a tokenizer of the bytes of a SentencePiece BPE model; errors use `name`. Throws a UserError when the bytes are no such model. */
export function parseSentencePiece(
  bytes: Uint8Array,
  name: string,
  { expectedPieces }: TokenizerExpectations = {},
): SentencePieceTokenizer {
  expectNoLfsPointer(name, bytes, "the SentencePiece model itself");
  const model = readModel(bytes, name);
  const pieceCount = model.pieces.texts.length;
  if (expectedPieces !== undefined && expectedPieces !== pieceCount) {
    throw new UserError(`${name}: the tokenizer has ${pieceCount} pieces, config.json says ${expectedPieces}.`, {
      hint: "Is tokenizer.model from this checkpoint?",
    });
  }
  return createSentencePieceTokenizer(model);
}

/** The same tokenizer with, or without, a space before a text, whatever its file says. */
export function withDummyPrefix(tokenizer: SentencePieceTokenizer, addDummyPrefix: boolean): SentencePieceTokenizer {
  const { model } = tokenizer;
  if (model.normalizer.addDummyPrefix === addDummyPrefix) return tokenizer;
  return createSentencePieceTokenizer({ ...model, normalizer: { ...model.normalizer, addDummyPrefix } });
}

/** The tokenizer that a table of pieces with its settings describes. */
export function createSentencePieceTokenizer(model: SentencePieceModel): SentencePieceTokenizer {
  const { name } = model;
  const { texts, types } = model.pieces;
  const pieceCount = texts.length;
  const { ordinary, reserved } = model.ids;
  const controlId = (piece: string): number | null => {
    const id = reserved.get(piece);
    return id !== undefined && types[id] === CONTROL ? id : null;
  };
  const pieceOf = (id: number): string => {
    if (Number.isInteger(id) && id >= 0 && id < pieceCount) return texts[id];
    throw new UserError(`${name}: id ${id} is outside the tokenizer's ${pieceCount} pieces.`, {
      hint: "Is the tokenizer from the same checkpoint as the model?",
    });
  };
  const unkId = types.indexOf(UNKNOWN);
  const encode = createEncoder(model, unkId);
  return {
    kind: "sentencepiece",
    vocabularySize: pieceCount,
    bosId: controlId(model.trainer.bosPiece),
    eosId: controlId(model.trainer.eosPiece),
    padId: controlId(model.trainer.padPiece),
    unkId,
    model,
    encode,
    encodeAll: (all) => all.map(encode),
    decode: createDecoder(model, pieceOf),
    pieceOf,
    // Where two pieces have one text, the name means the reserved piece, as in SentencePiece.
    idOf: (piece) => reserved.get(piece) ?? ordinary.get(piece) ?? null,
  };
}

function bytesById({ pieces: { texts, types } }: SentencePieceModel): Int16Array {
  return Int16Array.from(texts, (text, id) => (types[id] === BYTE ? (byteOfPiece(text) ?? -1) : -1));
}

const encoder = new TextEncoder();

function createEncoder(model: SentencePieceModel, unkId: number): (text: string) => number[] {
  const { texts, types } = model.pieces;
  const userDefinedIds: number[] = [];
  for (let id = 0; id < texts.length; id++) if (types[id] === USER_DEFINED) userDefinedIds.push(id);
  const userDefined = createPrefixTrie(userDefinedIds.map((id) => texts[id]));
  const normalize = createNormalizer(model.normalizer, userDefined, `${model.name}, normalizer_spec`);
  const segment = createSegmenter(model, userDefined, userDefinedIds);
  const byteIds = new Int32Array(256).fill(unkId);
  bytesById(model).forEach((byte, id) => {
    if (byte >= 0) byteIds[byte] = id;
  });

  return (text) => {
    const symbols = segment(normalize(text));
    if (symbols.every((symbol) => symbol >= 0)) return symbols;
    const ids: number[] = [];
    let afterUnknown = false;
    for (const symbol of symbols) {
      if (symbol >= 0) ids.push(symbol);
      else if (model.trainer.byteFallback) {
        for (const byte of encoder.encode(String.fromCodePoint(-1 - symbol))) ids.push(byteIds[byte]);
      } else if (!afterUnknown) ids.push(unkId);
      afterUnknown = symbol < 0;
    }
    return ids;
  };
}

function createDecoder(model: SentencePieceModel, pieceOf: (id: number) => string): Tokenizer["decode"] {
  const { types } = model.pieces;
  const { addDummyPrefix, removeExtraWhitespaces } = model.normalizer;
  const bytes = bytesById(model);
  const denormalize =
    model.denormalizer === null || model.denormalizer.charsmap.length === 0
      ? (text: string) => text
      : createNormalizer(model.denormalizer, createPrefixTrie([]), `${model.name}, denormalizer_spec`);

  return (ids) => {
    let text = "";
    let bytesSoFar: number[] = [];
    // Removes the dummy prefix once, or all leading spaces where the model removes extra ones.
    let stripsSpace = addDummyPrefix || removeExtraWhitespaces;
    for (const id of ids) {
      let piece = pieceOf(id);
      if (types[id] === BYTE) {
        bytesSoFar.push(bytes[id]);
        continue;
      }
      if (bytesSoFar.length > 0) {
        text += decodeLossy(bytesSoFar);
        bytesSoFar = [];
      }
      if (text !== "") stripsSpace = false;
      if (types[id] === CONTROL) continue;
      if (types[id] === UNKNOWN) {
        text += model.trainer.unkSurface;
        continue;
      }
      if (stripsSpace && piece.startsWith(SPACE_MARK)) {
        piece = piece.slice(1);
        stripsSpace = removeExtraWhitespaces;
      }
      text += piece.replaceAll(SPACE_MARK, " ");
    }
    return denormalize(text + decodeLossy(bytesSoFar));
  };
}
