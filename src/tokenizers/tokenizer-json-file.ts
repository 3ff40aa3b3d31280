import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "./bounded-json.ts";
import { BYTE_CHARACTERS, GPT2_WORDS, type Normalization, SPLIT_WORDS, type WordPattern } from "./byte-level.ts";
import { createJoins, type Joins } from "./join-pairs.ts";

const MAX_PIECES = 1 << 20;
const NORMALIZATIONS: readonly Normalization[] = ["NFC", "NFD", "NFKC", "NFKD"];

export interface AddedPiece {
  id: number;
  text: string;
  special: boolean;
}

/** The content of a tokenizer.json with byte-level BPE. */
export interface TokenizerFile {
  normalization: Normalization | null;
  words: WordPattern[];
  idByPiece: ReadonlyMap<string, number>;
  joins: Joins;
  ignoresMerges: boolean;
  added: AddedPiece[];
}

/** Checks that a parsed tokenizer.json can cut every text and has an id for every result; errors use `name`. Throws a UserError. */
export function readTokenizerFile(value: JsonObject, name: string): TokenizerFile {
  refuseSentencePiece(value, name);
  const normalization = readNormalization(value.normalizer, name);
  const words = readWords(value.pre_tokenizer, name);
  expectByteLevel(value.decoder, `${name}, decoder`);
  const model = readModel(value.model, name);
  return { normalization, words, ...model, added: readAddedPieces(value.added_tokens, model.idByPiece, name) };
}

/** Llama's tokenizers, which transformers 5 saves in this form alone: pieces over characters, with byte pieces for what has none. */
function refuseSentencePiece({ model, normalizer, pre_tokenizer: words }: JsonObject, name: string): void {
  const hasBytes = isJsonObject(model) && model.type === "BPE" && model.byte_fallback === true;
  const hasSpaceMarks = [normalizer, words].some((part) => /"(Metaspace|Prepend)"/.test(JSON.stringify(part) ?? ""));
  if (!hasBytes && !hasSpaceMarks) return;
  throw new UserError(`${name}: is a SentencePiece tokenizer in the form of tokenizer.json, which is not read.`, {
    hint: "Put the tokenizer.model of the original model next to it: it gives the same ids.",
  });
}

function readNormalization(value: unknown, name: string): Normalization | null {
  if (value === undefined || value === null) return null;
  const known = isJsonObject(value) ? NORMALIZATIONS.find((form) => form === value.type) : undefined;
  if (known) return known;
  throw new UserError(`${name}: normalizer is ${showValue(value)}, supported: none, ${NORMALIZATIONS.join(", ")}.`);
}

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

function readModel(value: unknown, name: string): Pick<TokenizerFile, "idByPiece" | "joins" | "ignoresMerges"> {
  if (!isJsonObject(value) || value.type !== "BPE") {
    const got = isJsonObject(value) ? `of type ${showValue(value.type)}` : showValue(value);
    throw new UserError(`${name}: the model is ${got}, supported: BPE.`);
  }
  for (const key of ["byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "dropout"]) {
    if (value[key]) throw new UserError(`${name}: the model sets ${key}, which is not supported.`);
  }
  const idByPiece = readVocabulary(value.vocab, name);
  return { idByPiece, joins: readMerges(value.merges, idByPiece, name), ignoresMerges: value.ignore_merges === true };
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

function readMerges(value: unknown, idByPiece: ReadonlyMap<string, number>, name: string): Joins {
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
  return createJoins(
    lefts,
    rights,
    pieces,
    pieces.map((_, i) => i),
  );
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
