import { readFile } from "node:fs/promises";
import { showValue, UserError } from "../base/errors.ts";
import { fileSizeBytes } from "../base/files.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { SPACE_MARK } from "./normalizer.ts";
import { createSentencePieceTokenizer, type SentencePieceTokenizer } from "./sentencepiece.ts";
import {
  BYTE,
  byteOfPiece,
  CONTROL,
  indexPieces,
  MAX_PIECE_BYTES,
  MAX_PIECES,
  NORMAL,
  type NormalizerSpec,
  UNKNOWN,
} from "./sentencepiece-model.ts";
import { decodeStrict } from "./utf8.ts";

const MAX_FILE_BYTES = 64 * 2 ** 20;
const HEADER_BYTES = 4;
const PIECE_HEADER_BYTES = 8;
const UNKNOWN_ID = 0;
const BOS_ID = 1;
const EOS_ID = 2;

/** Settings that the file does not state because llama2.c fixes them: text as it is, with a space in front. */
const NORMALIZER: NormalizerSpec = {
  name: "identity",
  charsmap: new Uint8Array(0),
  addDummyPrefix: true,
  removeExtraWhitespaces: false,
  escapeWhitespaces: true,
};

/** Reads a tokenizer file of llama2.c (`tok512.bin`, `tokenizer.bin`). Throws a UserError that names the file and the problem. */
export async function loadLlama2cTokenizer(file: string): Promise<SentencePieceTokenizer> {
  const sizeBytes = await fileSizeBytes(file, "a llama2.c tokenizer");
  if (sizeBytes > MAX_FILE_BYTES) {
    throw new UserError(`${file}: has ${sizeBytes} bytes, expected a llama2.c tokenizer of at most ${MAX_FILE_BYTES}.`);
  }
  return parseLlama2cTokenizer(await readFile(file), file);
}

/**
 * Makes a tokenizer of the bytes of a llama2.c tokenizer file: an int32 with the length of the longest piece, then for each piece a float32
 * score, an int32 length and that many bytes. The pieces are those of a SentencePiece BPE model with byte fallback, spaces written as
 * spaces; ids 0, 1 and 2 are unknown, begin and end. errors use `name`. Throws a UserError when the bytes are no such file.
 */
export function parseLlama2cTokenizer(bytes: Uint8Array, name: string): SentencePieceTokenizer {
  expectNoLfsPointer(name, bytes, "the tokenizer itself");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fail = (problem: string) =>
    new UserError(`${name}: ${problem}.`, { hint: "Was the file cut short, or is it no tokenizer of llama2.c?" });
  if (bytes.byteLength < HEADER_BYTES) throw fail(`has ${bytes.byteLength} bytes, too short for a llama2.c tokenizer`);
  const maxPieceBytes = view.getInt32(0, true);
  if (maxPieceBytes < 1 || maxPieceBytes > MAX_PIECE_BYTES) {
    throw fail(`says that its longest piece has ${maxPieceBytes} bytes, expected 1 to ${MAX_PIECE_BYTES}`);
  }
  const texts: string[] = [];
  const scores: number[] = [];
  for (let at = HEADER_BYTES; at < bytes.byteLength; ) {
    const id = texts.length;
    if (id === MAX_PIECES) throw fail(`has more than ${MAX_PIECES} pieces`);
    if (bytes.byteLength - at < PIECE_HEADER_BYTES) throw fail(`ends inside piece ${id}`);
    const score = view.getFloat32(at, true);
    const length = view.getInt32(at + 4, true);
    const start = at + PIECE_HEADER_BYTES;
    if (length < 1 || length > maxPieceBytes) {
      throw fail(`piece ${id} has ${length} bytes, expected 1 to ${maxPieceBytes}`);
    }
    if (length > bytes.byteLength - start) throw fail(`ends inside piece ${id}`);
    const text = decodeStrict(bytes, start, start + length);
    if (text === null) throw fail(`piece ${id} is not UTF-8`);
    if (Number.isNaN(score)) throw fail(`the score of piece ${id} is not a number`);
    texts.push(text.replaceAll(" ", SPACE_MARK));
    scores.push(score);
    at = start + length;
  }
  for (const [id, piece] of ["<unk>", "<s>", "</s>"].entries()) {
    // Line breaks surround the begin and end marks; they are no part of the names.
    if (texts[id]?.trim() !== piece) throw fail(`piece ${id} is ${showValue(texts[id])}, expected "${piece}"`);
    texts[id] = piece;
  }
  const types = Uint8Array.from(texts, (text, id) => {
    if (id === UNKNOWN_ID) return UNKNOWN;
    if (id === BOS_ID || id === EOS_ID) return CONTROL;
    return byteOfPiece(text) === null ? NORMAL : BYTE;
  });
  const pieces = { texts, scores: Float32Array.from(scores), types };
  const trainer = {
    modelType: 2,
    byteFallback: true,
    whitespaceAsSuffix: false,
    unkPiece: "<unk>",
    bosPiece: "<s>",
    eosPiece: "</s>",
    padPiece: "<pad>",
    unkSurface: " \u2047 ",
  };
  const ids = indexPieces(pieces, trainer, name);
  return createSentencePieceTokenizer({ name, pieces, ids, trainer, normalizer: NORMALIZER, denormalizer: null });
}
