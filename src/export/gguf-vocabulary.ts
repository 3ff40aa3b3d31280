import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UserError } from "../base/errors.ts";
import type { GgufVocabulary } from "../models/gguf/fields.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "../tokenizers/bounded-json.ts";
import { findTokenizerFile } from "../tokenizers/open-tokenizer.ts";
import { CONTROL, NORMAL, readModel, UNUSED, USER_DEFINED } from "../tokenizers/sentencepiece-model.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { TOKENIZER_CONFIG_FILE } from "../tokenizers/tokenizer-config.ts";
import { MAX_TOKENIZER_JSON_BYTES } from "../tokenizers/tokenizer-json.ts";
import { readTokenizerFile } from "../tokenizers/tokenizer-json-file.ts";

const MAX_CONFIG_BYTES = 8 * 2 ** 20;

/** Reads a model's tokenizer in the form of a GGUF file. Throws a UserError for a kind of tokenizer that GGUF cannot hold. */
export async function readGgufVocabulary(path: string, spec: DecoderSpec): Promise<GgufVocabulary> {
  const file = await findTokenizerFile(path);
  const tokenizer = await openModelTokenizer(path, { modelType: spec.family });
  const marks = {
    bosId: tokenizer.bosId ?? spec.bosId,
    eosId: tokenizer.eosId ?? spec.eosId,
    unkId: tokenizer.unkId,
    padId: tokenizer.padId,
    addsBos: tokenizer.bosId !== null,
    chatTemplate: await readChatTemplate(join(dirname(file), TOKENIZER_CONFIG_FILE)),
  };
  const pieces = file.endsWith(".json")
    ? await readByteLevel(file)
    : file.endsWith(".model")
      ? await readSentencePiece(file, tokenizer)
      : null;
  if (!pieces) {
    throw new UserError(`${file}: is no tokenizer.model or tokenizer.json, which a GGUF file's vocabulary is made of.`);
  }
  if (pieces.texts.length > spec.vocabularySize) {
    throw new UserError(
      `${path}: has ${pieces.texts.length} pieces, but the model's vocabulary is ${spec.vocabularySize}.`,
      { hint: "Does the tokenizer belong to this model?" },
    );
  }
  return { ...pieces, ...marks };
}

/** The one template, or the one called "default" of several. */
async function readChatTemplate(file: string): Promise<string | null> {
  if (!existsSync(file)) return null;
  const { chat_template: value } = await readJsonObject(file, "a tokenizer's configuration", MAX_CONFIG_BYTES);
  const named = Array.isArray(value) ? value.find((one) => isJsonObject(one) && one.name === "default") : null;
  const text: unknown = isJsonObject(named) ? named.template : value;
  return typeof text === "string" && text !== "" ? text : null;
}

type VocabularyPieces = Pick<GgufVocabulary, "texts" | "types" | "cutBy">;

/** The pieces of a SentencePiece file, then the command pieces that the family's own code adds (ChatGLM2). */
async function readSentencePiece(file: string, tokenizer: Tokenizer): Promise<VocabularyPieces> {
  const { pieces, normalizer } = readModel(await readFile(file), file);
  const added = Array.from({ length: tokenizer.vocabularySize - pieces.texts.length }, (_, i) =>
    tokenizer.pieceOf(pieces.texts.length + i),
  );
  return {
    texts: [...pieces.texts, ...added],
    types: Uint8Array.from([...pieces.types, ...added.map(() => CONTROL)]),
    cutBy: {
      scores: Float32Array.from([...pieces.scores, ...added.map(() => 0)]),
      addsSpacePrefix: normalizer.addDummyPrefix,
    },
  };
}

async function readByteLevel(file: string): Promise<VocabularyPieces> {
  const value = await readJsonObject(file, "a tokenizer of Hugging Face's tokenizers", MAX_TOKENIZER_JSON_BYTES);
  const { idByPiece, added } = readTokenizerFile(value, file);
  const texts: string[] = [];
  const types: number[] = [];
  for (const [piece, id] of idByPiece) {
    texts[id] = piece;
    types[id] = NORMAL;
  }
  for (const { id, text, special } of added) {
    texts[id] = text;
    // llama.cpp's converter decides by the text too: Qwen marks <|fim_prefix|> and similar tokens as ordinary.
    types[id] = special || /^<\|.*\|>$/.test(text) ? CONTROL : USER_DEFINED;
  }
  for (let id = 0; id < texts.length; id++) {
    texts[id] ??= `[PAD${id}]`;
    types[id] ??= UNUSED;
  }
  return { texts, types: Uint8Array.from(types), cutBy: { merges: mergesOf(value), words: wordsOf(value) } };
}

/** As `readTokenizerFile` has checked them, the two halves with a space between them. */
function mergesOf(value: JsonObject): string[] {
  const model = value.model as { merges: readonly (string | readonly string[])[] };
  return model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
}

/** llama.cpp's name of the expression that cuts words: digits alone (Qwen2), by three (Llama-3), or no expression of its own (GPT-2). */
function wordsOf(value: JsonObject): string {
  const text = isJsonObject(value.pre_tokenizer) ? JSON.stringify(value.pre_tokenizer) : "";
  if (text.includes("\\\\p{N}{1,3}")) return "llama-bpe";
  return text.includes("\\\\p{N}") ? "qwen2" : "gpt-2";
}
