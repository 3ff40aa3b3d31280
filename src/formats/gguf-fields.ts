import type { GgufWriteType } from "./gguf-blocks.ts";
import type { GgufArchitecture } from "./gguf-names.ts";
import type { GgufField } from "./gguf-write.ts";
import type { RotaryLayout } from "./rotary-rows.ts";

/** The sizes that a GGUF file states. */
export interface GgufSizes {
  architecture: GgufArchitecture;
  vocabularySize: number;
  width: number;
  layers: number;
  heads: number;
  keyValueHeads: number;
  headWidth: number;
  feedForward: number;
  normEpsilon: number;
  /** Null for ALiBi. The layout is that of the tensors that are given. */
  rotary: { base: number; rotatedWidth: number; layout: RotaryLayout } | null;
  /** Rows of the output layer count as divided by their lengths; in the file they are. */
  normalizedHead: boolean;
  maxTokens: number;
}

/** A vocabulary: one text and type (as SentencePiece numbers them, and llama.cpp too) for each id. */
export interface GgufVocabulary {
  texts: readonly string[];
  types: Uint8Array;
  /** SentencePiece's scores, or the merges of byte-level BPE and llama.cpp's name of the rule by which it cuts words. */
  cutBy: { scores: Float32Array; addsSpacePrefix: boolean } | { merges: readonly string[]; words: string };
  bosId: number | null;
  eosId: number | null;
  unkId: number | null;
  padId: number | null;
  addsBos: boolean;
  /** In Jinja, as tokenizer_config.json has it. */
  chatTemplate: string | null;
}

/** What llama.cpp calls a file by the type of its matrices (llama.h, enum llama_ftype). */
const FILE_TYPES: Readonly<Record<GgufWriteType, number>> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };
const QUANTIZATION_VERSION = 2;
const UNUSED_TYPE = 5;
const UNUSED_SCORE = -10_000;
/** What llama.cpp's converter notes for files whose rows of queries and keys are interleaved. */
const TENSOR_LAYOUT = "Meta AI original pth";

/** The metadata of a model as llama.cpp's converter writes it, with the vocabulary filled up to the model's size. */
export function ggufFields(
  name: string,
  sizes: GgufSizes,
  vocabulary: GgufVocabulary,
  type: GgufWriteType,
): GgufField[] {
  const { architecture, headWidth, rotary } = sizes;
  const uint = (key: string, value: number): GgufField => ({ key, type: "uint32", value });
  const own = (key: string, value: number) => uint(`${architecture}.${key}`, value);
  const float = (key: string, value: number): GgufField => ({ key: `${architecture}.${key}`, type: "float32", value });
  return [
    { key: "general.architecture", type: "string", value: architecture },
    { key: "general.type", type: "string", value: "model" },
    { key: "general.name", type: "string", value: name },
    uint("general.file_type", FILE_TYPES[type]),
    uint("general.quantization_version", QUANTIZATION_VERSION),
    own("vocab_size", sizes.vocabularySize),
    own("context_length", sizes.maxTokens),
    own("embedding_length", sizes.width),
    own("block_count", sizes.layers),
    own("feed_forward_length", sizes.feedForward),
    own("attention.head_count", sizes.heads),
    own("attention.head_count_kv", sizes.keyValueHeads),
    own("attention.key_length", headWidth),
    own("attention.value_length", headWidth),
    own("rope.dimension_count", rotary?.rotatedWidth ?? headWidth),
    ...(rotary ? [float("rope.freq_base", rotary.base)] : []),
    float("attention.layer_norm_rms_epsilon", sizes.normEpsilon),
    ...(architecture === "baichuan"
      ? [{ key: "baichuan.tensor_data_layout", type: "string", value: TENSOR_LAYOUT } as const]
      : []),
    ...vocabularyFields(architecture, sizes.vocabularySize, vocabulary),
  ];
}

function vocabularyFields(architecture: GgufArchitecture, size: number, vocabulary: GgufVocabulary): GgufField[] {
  const { texts, types, cutBy } = vocabulary;
  const missing = Array.from({ length: Math.max(0, size - texts.length) }, (_, i) => texts.length + i);
  const text = (key: string, value: string): GgufField => ({ key: `tokenizer.ggml.${key}`, type: "string", value });
  const isScored = "scores" in cutBy;
  const fields: GgufField[] = [
    text("model", isScored ? "llama" : "gpt2"),
    text("pre", isScored ? (architecture === "chatglm" ? "chatglm-spm" : "default") : cutBy.words),
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
    ["unknown", vocabulary.unkId],
    ["padding", vocabulary.padId],
  ];
  for (const [key, id] of ids) {
    if (id !== null) fields.push({ key: `tokenizer.ggml.${key}_token_id`, type: "uint32", value: id });
  }
  return fields;
}
