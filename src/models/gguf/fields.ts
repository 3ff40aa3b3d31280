import type { GgufFileType } from "../../formats/gguf-blocks.ts";
import type { GgufField } from "../../formats/gguf-write.ts";
import { familyNamed } from "../families/registry.ts";
import type { DecoderSpec } from "../spec.ts";
import { scalingFields } from "./scaling.ts";

/** A vocabulary: a text and a type for each id. SentencePiece and llama.cpp number the types alike. */
export interface GgufVocabulary {
  texts: readonly string[];
  types: Uint8Array;
  /** SentencePiece's scores, or the merges of byte-level BPE with llama.cpp's name of the rule that cuts words. */
  cutBy: { scores: Float32Array; addsSpacePrefix: boolean } | { merges: readonly string[]; words: string };
  bosId: number | null;
  eosId: number | null;
  unkId: number | null;
  padId: number | null;
  addsBos: boolean;
  /** The Jinja template of tokenizer_config.json. */
  chatTemplate: string | null;
  /** The token that ends an answer, where it is not `eosId`. */
  answerEndId: number | null;
}

/** llama.cpp's number of a file whose matrices have this type (llama.h, enum llama_ftype). */
const FILE_TYPES: Readonly<Record<GgufFileType, number>> = {
  F32: 0,
  F16: 1,
  Q8_0: 7,
  Q4_K_M: 15,
  Q6_K: 18,
  BF16: 32,
};
const QUANTIZATION_VERSION = 2;
const UNUSED_TYPE = 5;
const UNUSED_SCORE = -10_000;

/** The metadata of a model as llama.cpp's converter writes it, with the vocabulary padded to the model's size. */
export function ggufFields(
  name: string,
  spec: DecoderSpec,
  vocabulary: GgufVocabulary,
  type: GgufFileType,
): GgufField[] {
  const { gguf } = familyNamed(spec.family, name);
  const { headWidth, positions } = spec;
  const rotary = positions.kind === "rotary" ? positions : null;
  const uint = (key: string, value: number): GgufField => ({ key, type: "uint32", value });
  const own = (key: string, value: number) => uint(`${gguf.architecture}.${key}`, value);
  const float = (key: string, value: number): GgufField => ({
    key: `${gguf.architecture}.${key}`,
    type: "float32",
    value,
  });
  return [
    { key: "general.architecture", type: "string", value: gguf.architecture },
    { key: "general.type", type: "string", value: "model" },
    { key: "general.name", type: "string", value: name },
    uint("general.file_type", FILE_TYPES[type]),
    uint("general.quantization_version", QUANTIZATION_VERSION),
    own("vocab_size", spec.vocabularySize),
    own("context_length", spec.maxTokens),
    own("embedding_length", spec.width),
    own("block_count", spec.layers),
    own("feed_forward_length", spec.feedForward),
    own("attention.head_count", spec.heads),
    own("attention.head_count_kv", spec.keyValueHeads),
    own("attention.key_length", headWidth),
    own("attention.value_length", headWidth),
    own("rope.dimension_count", rotary?.rotatedWidth ?? headWidth),
    ...(rotary ? [float("rope.freq_base", rotary.base)] : []),
    ...(rotary?.scaling ? scalingFields(rotary.scaling, gguf.architecture) : []),
    float("attention.layer_norm_rms_epsilon", spec.normEpsilon),
    ...gguf.fields,
    ...vocabularyFields(spec.vocabularySize, vocabulary, gguf.sentencePieceRule),
  ];
}

function vocabularyFields(size: number, vocabulary: GgufVocabulary, sentencePieceRule: string): GgufField[] {
  const { texts, types, cutBy } = vocabulary;
  const missing = Array.from({ length: Math.max(0, size - texts.length) }, (_, i) => texts.length + i);
  const text = (key: string, value: string): GgufField => ({ key: `tokenizer.ggml.${key}`, type: "string", value });
  const isScored = "scores" in cutBy;
  const fields: GgufField[] = [
    text("model", isScored ? "llama" : "gpt2"),
    text("pre", isScored ? sentencePieceRule : cutBy.words),
    {
      key: "tokenizer.ggml.tokens",
      type: "string",
      value: [...texts, ...missing.map((id) => `[PAD${id}]`)],
    },
    {
      key: "tokenizer.ggml.token_type",
      type: "int32",
      value: [...types, ...missing.map(() => UNUSED_TYPE)],
    },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: vocabulary.addsBos },
    { key: "tokenizer.ggml.add_eos_token", type: "bool", value: false },
  ];
  if (isScored) {
    const scores = [...cutBy.scores, ...missing.map(() => UNUSED_SCORE)];
    fields.push({ key: "tokenizer.ggml.scores", type: "float32", value: scores });
    fields.push({ key: "tokenizer.ggml.add_space_prefix", type: "bool", value: cutBy.addsSpacePrefix });
  } else {
    fields.push({ key: "tokenizer.ggml.merges", type: "string", value: cutBy.merges });
  }
  const { chatTemplate } = vocabulary;
  if (chatTemplate !== null) fields.push({ key: "tokenizer.chat_template", type: "string", value: chatTemplate });
  const ids: [string, number | null][] = [
    ["bos", vocabulary.bosId],
    ["eos", vocabulary.eosId],
    ["eot", vocabulary.answerEndId],
    ["unknown", vocabulary.unkId],
    ["padding", vocabulary.padId],
  ];
  for (const [key, id] of ids) {
    if (id !== null) fields.push({ key: `tokenizer.ggml.${key}_token_id`, type: "uint32", value: id });
  }
  return fields;
}
