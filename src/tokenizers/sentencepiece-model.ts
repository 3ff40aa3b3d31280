import { UserError } from "../base/errors.ts";
import { BYTES, expectWireType, FIXED32, type MessageRange, readMessage, VARINT } from "./protobuf.ts";
import { decodeStrict } from "./utf8.ts";

/** Types of pieces, as sentencepiece_model.proto numbers them. */
export const NORMAL = 1;
export const UNKNOWN = 2;
export const CONTROL = 3;
export const USER_DEFINED = 4;
export const UNUSED = 5;
export const BYTE = 6;

const MODEL_TYPES = ["", "unigram", "BPE", "word", "char"];
const BPE_MODEL = 2;
export const MAX_PIECES = 1 << 20;
/** The limit of SentencePiece itself. */
export const MAX_PIECE_BYTES = 8000;

/** Pieces by id, one array for each property. */
export interface Pieces {
  texts: string[];
  scores: Float32Array;
  types: Uint8Array;
}

/** Ids by text. Ordinary and reserved pieces are two name spaces: "<s>" may be both a control piece and a user-defined symbol. */
export interface PieceIds {
  /** Normal, user-defined and unused pieces, into which text is cut. */
  ordinary: Map<string, number>;
  /** Control, unknown and byte pieces. */
  reserved: Map<string, number>;
}

export interface TrainerSpec {
  modelType: number;
  byteFallback: boolean;
  whitespaceAsSuffix: boolean;
  unkPiece: string;
  bosPiece: string;
  eosPiece: string;
  padPiece: string;
  unkSurface: string;
}

export interface NormalizerSpec {
  name: string;
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  escapeWhitespaces: boolean;
}

/** The content of a `tokenizer.model` file. */
export interface SentencePieceModel {
  /** The file, for errors. */
  name: string;
  pieces: Pieces;
  ids: PieceIds;
  trainer: TrainerSpec;
  normalizer: NormalizerSpec;
  denormalizer: NormalizerSpec | null;
}

/** Reads a SentencePiece ModelProto of type BPE (sentencepiece_model.proto). Throws a UserError that names the wrong item. */
export function readModel(bytes: Uint8Array, name: string): SentencePieceModel {
  const texts: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  let trainer: TrainerSpec | null = null;
  let normalizer: NormalizerSpec | null = null;
  let denormalizer: NormalizerSpec | null = null;
  readMessage({ bytes, start: 0, end: bytes.length, name }, (field, wireType, _value, start, end) => {
    const message = (part: string): MessageRange => {
      expectWireType(wireType, BYTES, name, part);
      return { bytes, start, end, name: `${name}, ${part}` };
    };
    if (field === 1) {
      if (texts.length === MAX_PIECES) throw new UserError(`${name}: has more than ${MAX_PIECES} pieces.`);
      readPiece(message(`piece ${texts.length}`), texts, scores, types);
    } else if (field === 2) trainer = readTrainerSpec(message("trainer_spec"));
    else if (field === 3) normalizer = readNormalizerSpec(message("normalizer_spec"));
    else if (field === 5) denormalizer = readNormalizerSpec(message("denormalizer_spec"));
  });
  if (texts.length === 0 || trainer === null || normalizer === null) {
    const missing = texts.length === 0 ? "pieces" : trainer === null ? "trainer_spec" : "normalizer_spec";
    throw new UserError(`${name}: has no ${missing}, expected a SentencePiece model.`, {
      hint: "Was the file cut short, or is it another kind of file?",
    });
  }
  const pieces = { texts, scores: Float32Array.from(scores), types: Uint8Array.from(types) };
  checkTrainerSpec(trainer, name);
  return { name, pieces, ids: indexPieces(pieces, trainer, name), trainer, normalizer, denormalizer };
}

function readPiece(range: MessageRange, texts: string[], scores: number[], types: number[]): void {
  const { bytes, name } = range;
  let text = "";
  let score = 0;
  let type = NORMAL;
  readMessage(range, (field, wireType, value, start, end) => {
    if (field === 1) {
      expectWireType(wireType, BYTES, name, "piece");
      if (end - start >= MAX_PIECE_BYTES) {
        throw new UserError(`${name}: has ${end - start} bytes, expected less than ${MAX_PIECE_BYTES}.`);
      }
      text = textOf(bytes, start, end, name, "piece");
    } else if (field === 2) {
      expectWireType(wireType, FIXED32, name, "score");
      score = new DataView(bytes.buffer, bytes.byteOffset + start, 4).getFloat32(0, true);
    } else if (field === 3) {
      expectWireType(wireType, VARINT, name, "type");
      type = value;
    }
  });
  if (text === "" || text.includes("\0")) {
    throw new UserError(`${name}: is ${text === "" ? "empty" : "text with a zero byte"}, expected text.`);
  }
  if (Number.isNaN(score)) throw new UserError(`${name}: its score is not a number.`);
  if (type < NORMAL || type > BYTE) throw new UserError(`${name}: has type ${type}, expected ${NORMAL} to ${BYTE}.`);
  texts.push(text);
  scores.push(score);
  types.push(type);
}

function readTrainerSpec(range: MessageRange): TrainerSpec {
  const spec: TrainerSpec = {
    modelType: 1,
    byteFallback: false,
    whitespaceAsSuffix: false,
    unkPiece: "<unk>",
    bosPiece: "<s>",
    eosPiece: "</s>",
    padPiece: "<pad>",
    unkSurface: " \u2047 ",
  };
  readMessage(range, (field, wireType, value, start, end) => {
    const number = (key: string): number => {
      expectWireType(wireType, VARINT, range.name, key);
      return value;
    };
    const text = (key: string): string => {
      expectWireType(wireType, BYTES, range.name, key);
      return textOf(range.bytes, start, end, range.name, key);
    };
    // An empty name of a special piece means its usual name, as in SentencePiece.
    if (field === 3) spec.modelType = number("model_type");
    else if (field === 24) spec.whitespaceAsSuffix = number("treat_whitespace_as_suffix") !== 0;
    else if (field === 35) spec.byteFallback = number("byte_fallback") !== 0;
    else if (field === 44) spec.unkSurface = text("unk_surface");
    else if (field === 45) spec.unkPiece = text("unk_piece") || spec.unkPiece;
    else if (field === 46) spec.bosPiece = text("bos_piece") || spec.bosPiece;
    else if (field === 47) spec.eosPiece = text("eos_piece") || spec.eosPiece;
    else if (field === 48) spec.padPiece = text("pad_piece") || spec.padPiece;
  });
  return spec;
}

function readNormalizerSpec(range: MessageRange): NormalizerSpec {
  const spec: NormalizerSpec = {
    name: "",
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  };
  readMessage(range, (field, wireType, value, start, end) => {
    const flag = (key: string): boolean => {
      expectWireType(wireType, VARINT, range.name, key);
      return value !== 0;
    };
    if (field === 1) {
      expectWireType(wireType, BYTES, range.name, "name");
      spec.name = textOf(range.bytes, start, end, range.name, "name");
    } else if (field === 2) {
      expectWireType(wireType, BYTES, range.name, "precompiled_charsmap");
      spec.charsmap = range.bytes.subarray(start, end);
    } else if (field === 3) spec.addDummyPrefix = flag("add_dummy_prefix");
    else if (field === 4) spec.removeExtraWhitespaces = flag("remove_extra_whitespaces");
    else if (field === 5) spec.escapeWhitespaces = flag("escape_whitespaces");
  });
  return spec;
}

function textOf(bytes: Uint8Array, start: number, end: number, name: string, what: string): string {
  const text = decodeStrict(bytes, start, end);
  if (text === null) throw new UserError(`${name}: its ${what} is not UTF-8.`);
  return text;
}

function checkTrainerSpec(trainer: TrainerSpec, name: string): void {
  if (trainer.modelType !== BPE_MODEL) {
    const type = MODEL_TYPES[trainer.modelType] || trainer.modelType;
    throw new UserError(`${name}: is a SentencePiece model of type ${type}, expected BPE.`);
  }
  if (trainer.whitespaceAsSuffix) {
    throw new UserError(`${name}: sets treat_whitespace_as_suffix, which is not supported.`);
  }
}

/**
 * Applies the rules that SentencePiece itself checks on loading: no piece twice, one unknown piece, all bytes or none. Throws a UserError.
 */
export function indexPieces(
  { texts, types }: Pieces,
  trainer: Pick<TrainerSpec, "byteFallback">,
  name: string,
): PieceIds {
  const ordinary = new Map<string, number>();
  const reserved = new Map<string, number>();
  let unknowns = 0;
  let byteCount = 0;
  for (let id = 0; id < texts.length; id++) {
    const type = types[id];
    const ids = type === NORMAL || type === USER_DEFINED || type === UNUSED ? ordinary : reserved;
    const earlier = ids.get(texts[id]);
    if (earlier !== undefined) {
      throw new UserError(`${name}: piece ${id} is ${JSON.stringify(texts[id])}, which piece ${earlier} already is.`);
    }
    ids.set(texts[id], id);
    if (type === UNKNOWN) unknowns++;
    if (type !== BYTE) continue;
    byteCount++;
    if (byteOfPiece(texts[id]) === null) {
      throw new UserError(`${name}: piece ${id} is the byte piece "${texts[id]}", expected <0x00> to <0xFF>.`);
    }
  }
  if (unknowns !== 1) throw new UserError(`${name}: has ${unknowns} pieces of type unknown, expected 1.`);
  const expectedBytes = trainer.byteFallback ? 256 : 0;
  if (byteCount !== expectedBytes) {
    const state = trainer.byteFallback ? "on" : "off";
    throw new UserError(
      `${name}: has ${byteCount} byte pieces, expected ${expectedBytes} with byte_fallback ${state}.`,
    );
  }
  return { ordinary, reserved };
}

/** The byte of a piece such as `<0x0A>`, or null. */
export function byteOfPiece(text: string): number | null {
  return /^<0x[0-9A-F]{2}>$/.test(text) ? Number.parseInt(text.slice(3, 5), 16) : null;
}
