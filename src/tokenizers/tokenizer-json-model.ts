import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "./bounded-json.ts";
import { createJoins, type Joins } from "./join-pairs.ts";
import { byteOfPiece } from "./sentencepiece-model.ts";

export const MAX_PIECES = 1 << 20;
const TYPES = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/** The model of a tokenizer.json: byte-pair encoding with a vocabulary and merges. */
export interface BpeFile {
  idByPiece: ReadonlyMap<string, number>;
  joins: Joins;
  /** The merges in their order: left and right piece and what they give, by id. */
  merges: { lefts: Int32Array; rights: Int32Array; pieces: Int32Array };
  ignoresMerges: boolean;
  /** What a character without a piece becomes where pieces are texts. */
  fallback: {
    /** The ids of the 256 byte pieces, or null. */
    byteIds: Int32Array | null;
    unkId: number | null;
    /** Whether a run of such characters is one unknown token. */
    fusesUnknown: boolean;
  };
}

/** Reads the model; errors use `name`. Throws a UserError for another kind of model and for merges without pieces. */
export function readBpe(value: unknown, name: string): BpeFile {
  if (!isJsonObject(value) || value.type !== "BPE") {
    const type = isJsonObject(value) ? value.type : undefined;
    const got = isJsonObject(value) ? `of type ${showValue(type)}` : showValue(value);
    throw new UserError(`${name}: the model is ${got}, supported: BPE.`, {
      hint: TYPES.includes(String(type)) ? "Put a model with a BPE tokenizer in its place." : undefined,
    });
  }
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix", "dropout"]) {
    if (value[key]) throw new UserError(`${name}: the model sets ${key}, which is not supported.`);
  }
  const idByPiece = readVocabulary(value.vocab, name);
  return {
    idByPiece,
    ...readMerges(value.merges, idByPiece, name),
    ignoresMerges: value.ignore_merges === true,
    fallback: readFallback(value, idByPiece, name),
  };
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
  return idByPiece;
}

function readMerges(
  value: unknown,
  idByPiece: ReadonlyMap<string, number>,
  name: string,
): Pick<BpeFile, "joins" | "merges"> {
  if (!Array.isArray(value) || value.length > MAX_PIECES) {
    const got = Array.isArray(value) ? `${value.length} entries` : showValue(value);
    throw new UserError(`${name}: merges is ${got}, expected a list of at most ${MAX_PIECES}.`);
  }
  const [lefts, rights, pieces] = [0, 1, 2].map(() => new Int32Array(value.length));
  value.forEach((merge: unknown, i) => {
    const parts: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right]: unknown[] = Array.isArray(parts) && parts.length === 2 ? parts : [];
    const leftId = typeof left === "string" ? idByPiece.get(left) : undefined;
    const rightId = typeof right === "string" ? idByPiece.get(right) : undefined;
    if (leftId === undefined || rightId === undefined) {
      throw new UserError(`${name}: merge ${i} is ${showValue(merge)}, expected two pieces.`);
    }
    const piece = `${left}${right}`;
    const id = idByPiece.get(piece);
    if (id === undefined) throw new UserError(`${name}: merge ${i} gives ${showValue(piece)}, which is no piece.`);
    lefts[i] = leftId;
    rights[i] = rightId;
    pieces[i] = id;
  });
  const ranks = pieces.map((_, i) => i);
  return { joins: createJoins(lefts, rights, pieces, ranks), merges: { lefts, rights, pieces } };
}

function readFallback(value: JsonObject, idByPiece: ReadonlyMap<string, number>, name: string): BpeFile["fallback"] {
  const { unk_token: unk, byte_fallback: hasBytes, fuse_unk: fuses } = value;
  const unkId = typeof unk === "string" ? idByPiece.get(unk) : null;
  if (unkId === undefined) throw new UserError(`${name}: unk_token is ${showValue(unk)}, which is no piece.`);
  return { byteIds: hasBytes === true ? byteIdsOf(idByPiece, name) : null, unkId, fusesUnknown: fuses === true };
}

function byteIdsOf(idByPiece: ReadonlyMap<string, number>, name: string): Int32Array {
  const ids = new Int32Array(256).fill(-1);
  for (const [piece, id] of idByPiece) {
    const byte = byteOfPiece(piece);
    if (byte !== null) ids[byte] = id;
  }
  const missing = ids.indexOf(-1);
  if (missing < 0) return ids;
  const text = `<0x${missing.toString(16).toUpperCase().padStart(2, "0")}>`;
  throw new UserError(`${name}: sets byte_fallback, but has no piece ${text}.`);
}

export function expectId(value: unknown, where: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_PIECES) return value;
  throw new UserError(`${where} is ${showValue(value)}, expected a whole number below ${MAX_PIECES}.`);
}
