import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import type { GgufVocabulary } from "../models/gguf/fields.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { openModelTokenizerParts } from "../runs/tokenizer.ts";
import { isJsonObject, parseJsonObject } from "../tokenizers/bounded-json.ts";
import { SPLIT_WORDS } from "../tokenizers/byte-level.ts";
import type { FoundToken } from "../tokenizers/find-tokens.ts";
import { CHAT_TEMPLATE_FILE } from "../tokenizers/open-tokenizer.ts";
import type { PieceTable } from "../tokenizers/read-tokenizer.ts";
import {
  BYTE,
  byteOfPiece,
  CONTROL,
  NORMAL,
  UNKNOWN,
  UNUSED,
  USER_DEFINED,
} from "../tokenizers/sentencepiece-model.ts";
import { TOKENIZER_CONFIG_FILE } from "../tokenizers/tokenizer-config.ts";
import type { TokenizerFile } from "../tokenizers/tokenizer-json-file.ts";

const MAX_CONFIG_BYTES = 8 * 2 ** 20;
/** Of tokens that no joining makes, as llama.cpp's converter sets it. */
const ADDED_SCORE = -1000;

/** Reads a model's tokenizer in the form of a GGUF file. Throws a UserError for a kind of tokenizer that GGUF cannot hold. */
export async function readGgufVocabulary(path: string, spec: DecoderSpec): Promise<GgufVocabulary> {
  const { tokenizer, file, content } = await openModelTokenizerParts(path, { modelType: spec.family });
  const pieces =
    content.kind === "pieces" ? ofPieceTable(content) : ofTokenizerFile(content.file, file, tokenizer.unkId);
  if (pieces.texts.length > spec.vocabularySize) {
    throw new UserError(
      `${path}: has ${pieces.texts.length} pieces, but the model's vocabulary is ${spec.vocabularySize}.`,
      { hint: "Does the tokenizer belong to this model?" },
    );
  }
  return {
    ...pieces,
    bosId: tokenizer.bosId ?? spec.bosId,
    eosId: tokenizer.eosId ?? spec.eosId,
    unkId: tokenizer.unkId,
    padId: tokenizer.padId,
    addsBos: tokenizer.bosId !== null,
    chatTemplate: await readChatTemplate(dirname(file)),
    answerEndId: null,
  };
}

/** The file of its own, which transformers reads first, or the entry of tokenizer_config.json: the one called "default" of several. */
export async function readChatTemplate(directory: string): Promise<string | null> {
  const own = join(directory, CHAT_TEMPLATE_FILE);
  if (existsSync(own)) return readTextFile(own, "a chat template", MAX_CONFIG_BYTES);
  const file = join(directory, TOKENIZER_CONFIG_FILE);
  if (!existsSync(file)) return null;
  const what = "a tokenizer's configuration";
  const { chat_template: value } = parseJsonObject(await readTextFile(file, what, MAX_CONFIG_BYTES), file, what);
  const named = Array.isArray(value) ? value.find((one) => isJsonObject(one) && one.name === "default") : null;
  const text: unknown = isJsonObject(named) ? named.template : value;
  return typeof text === "string" && text !== "" ? text : null;
}

type VocabularyPieces = Pick<GgufVocabulary, "texts" | "types" | "cutBy">;

/** llama.cpp finds a token that is not a control token in any text. */
const typeOf = ({ special }: FoundToken) => (special ? CONTROL : USER_DEFINED);

/** The pieces of a SentencePiece file, then the command pieces of the family's own code (ChatGLM2), then the added tokens. */
function ofPieceTable({ model, commandPieces, added }: PieceTable): VocabularyPieces {
  const { texts, types, scores } = model.pieces;
  const more = [...commandPieces.map(() => CONTROL), ...added.map(typeOf)];
  return {
    texts: [...texts, ...commandPieces, ...added.map(({ text }) => text)],
    types: Uint8Array.from([...types, ...more]),
    cutBy: {
      scores: Float32Array.from([...scores, ...more.map(() => ADDED_SCORE)]),
      addsSpacePrefix: model.normalizer.addDummyPrefix,
    },
  };
}

function ofTokenizerFile(file: TokenizerFile, name: string, unkId: number | null): VocabularyPieces {
  const { model, added, form } = file;
  const texts: string[] = [];
  const types: number[] = [];
  for (const [piece, id] of model.idByPiece) {
    texts[id] = piece;
    types[id] = form.kind === "texts" && byteOfPiece(piece) !== null ? BYTE : NORMAL;
  }
  for (const token of added) {
    texts[token.id] = token.text;
    types[token.id] = typeOf(token);
  }
  if (form.kind === "texts" && unkId !== null) types[unkId] = UNKNOWN;
  for (let id = 0; id < texts.length; id++) {
    texts[id] ??= `[PAD${id}]`;
    types[id] ??= UNUSED;
  }
  const vocabulary = { texts, types: Uint8Array.from(types) };
  if (form.kind === "bytes") {
    const { lefts, rights } = model.merges;
    const merges = Array.from(lefts, (left, i) => `${texts[left]} ${texts[rights[i]]}`);
    return { ...vocabulary, cutBy: { merges, words: wordsOf(form.words) } };
  }
  const cutBy = { scores: scoresOf(file, vocabulary, name), addsSpacePrefix: addsSpacePrefix(file, name) };
  return { ...vocabulary, cutBy };
}

/** llama.cpp's name of the expression that cuts words: digits alone (Qwen2), by three (Llama-3), or no expression of its own (GPT-2). */
function wordsOf(words: readonly RegExp[]): string {
  const [qwen, llama3] = SPLIT_WORDS.values();
  if (words.includes(llama3)) return "llama-bpe";
  return words.includes(qwen) ? "qwen2" : "gpt-2";
}

const cannotHold = (name: string, what: string) =>
  new UserError(`${name}: ${what}, which a GGUF file cannot hold.`, {
    hint: "Put the tokenizer.model of the original model next to it.",
  });

/**
 * llama.cpp cuts pieces of text by scores, as SentencePiece does: any two symbols that make a piece are joined, the best score first. Merges
 * say the same where each way to make a piece is one of them and the ways to make one piece follow each other.
 */
function scoresOf({ model }: TokenizerFile, { texts, types }: Pick<VocabularyPieces, "texts" | "types">, name: string) {
  const { lefts, rights, pieces } = model.merges;
  if (model.ignoresMerges) throw cannotHold(name, "sets ignore_merges");
  const scores = Float32Array.from(types, (type) => (type === NORMAL ? -pieces.length : ADDED_SCORE));
  const ways = new Map<number, number>();
  pieces.forEach((piece, i) => {
    const isNormal = [lefts[i], rights[i], piece].every((id) => types[id] === NORMAL);
    if (!isNormal || (ways.has(piece) && pieces[i - 1] !== piece)) throw cannotHold(name, `merge ${i} is out of order`);
    if (!ways.has(piece)) scores[piece] = -ways.size;
    ways.set(piece, (ways.get(piece) ?? 0) + 1);
  });
  const isNormal = (text: string) => types[model.idByPiece.get(text) ?? -1] === NORMAL;
  for (const [id, text] of texts.entries()) {
    if (types[id] !== NORMAL) continue;
    let count = 0;
    for (let cut = 1; cut < text.length; cut++) if (isNormal(text.slice(0, cut)) && isNormal(text.slice(cut))) count++;
    if (count !== (ways.get(id) ?? 0))
      throw cannotHold(name, `has no merge for each way to make ${JSON.stringify(text)}`);
  }
  return scores;
}

/** Whether a space is set before a text; text must be cut in one part and otherwise stay as it is. */
function addsSpacePrefix({ form, normalizer }: TokenizerFile, name: string): boolean {
  const probe = "ab c\n  d ＡﬁÅ";
  const marked = probe.replaceAll(" ", "▁");
  const [word, ...others] = form.kind === "texts" ? form.words(normalizer.normalize(probe), true) : [];
  const isPlain = form.kind === "texts" && !form.isolates && others.length === 0;
  if (isPlain && word === marked) return false;
  if (isPlain && word === `▁${marked}`) return true;
  throw cannotHold(name, "changes or cuts text by other rules than SentencePiece");
}
