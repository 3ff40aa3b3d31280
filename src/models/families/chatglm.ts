import type { Family } from "../family.ts";
import { checkSpec, type DecoderSpec } from "../spec.ts";
import { createConfigReader, readPromptAttention, writePromptAttention } from "./config-reader.ts";
import { TINY_SIZES } from "./tiny-sizes.ts";

/**
 * ChatGLM2-6B as the authors' own code stores it: queries, keys and values in one matrix with biases, gate and up in another, rotary
 * positions on the first half of each head in interleaved pairs, and more rows in the embedding than the tokenizer has ids.
 */
export const chatglm: Family = {
  modelType: "chatglm",
  names: {
    embedding: "transformer.embedding.word_embeddings.weight",
    finalNorm: "transformer.encoder.final_layernorm.weight",
    head: "transformer.output_layer.weight",
    layers: "transformer.encoder.layers.",
  },
  modules: [
    { name: "input_layernorm", slots: ["attentionNorm"], gguf: ["attn_norm"] },
    { name: "self_attention.query_key_value", slots: ["q", "k", "v"], gguf: ["attn_qkv"] },
    { name: "self_attention.dense", slots: ["output"], gguf: ["attn_output"] },
    { name: "post_attention_layernorm", slots: ["feedForwardNorm"], gguf: ["ffn_norm"] },
    { name: "mlp.dense_h_to_4h", slots: ["gate", "up"], gguf: ["ffn_up"] },
    { name: "mlp.dense_4h_to_h", slots: ["down"], gguf: ["ffn_down"] },
  ],
  rotaryLayout: "interleaved",
  nativeForm: () => ({ modelType: "glm" }),
  loraTargets: ["query_key_value"],
  ignored: [/^transformer\.rotary_pos_emb\.inv_freq$/],
  readConfig(config, where) {
    const read = createConfigReader(config, where);
    // Options of the first ChatGLM-6B, which has the same model_type, and of later models.
    read.only("position_encoding_2d", false);
    read.only("rope_ratio", 1);
    read.only("original_rope", true);
    read.only("rotary_percent", 1);
    read.only("rmsnorm", true);
    read.only("post_layer_norm", true);
    read.only("apply_residual_connection_post_layernorm", false);
    read.only("add_bias_linear", false);
    read.only("interleaved_qkv", false);
    read.only("tie_word_embeddings", false);
    read.only("quantization_bit", 0);
    read.only("quantization_config");
    read.only("pre_seq_len");
    // vocab_size repeats padded_vocab_size or counts the tokens; the others say how the authors' code computes the same numbers.
    read.known("vocab_size", "apply_query_key_layer_scaling", "attention_softmax_in_fp32", "bias_dropout_fusion");
    read.known("fp32_residual_connection", "multi_query_attention", "prefix_projection");
    // Without it queries, keys and values have another order.
    if (config.multi_query_attention !== true) read.refuse("multi_query_attention", "true");
    const vocabularySize = read.number("padded_vocab_size");
    const headWidth = read.number("kv_channels");
    const spec: DecoderSpec = {
      family: "chatglm",
      vocabularySize,
      tokenCount: vocabularySize,
      width: read.number("hidden_size"),
      layers: read.number("num_layers"),
      heads: read.number("num_attention_heads"),
      keyValueHeads: read.number("multi_query_group_num"),
      headWidth,
      feedForward: read.number("ffn_hidden_size"),
      normEpsilon: read.number("layernorm_epsilon", 1e-5),
      positions: { kind: "rotary", base: 10_000, layout: "interleaved", rotatedWidth: headWidth / 2 },
      promptAttention: readPromptAttention(config, read),
      queryKeyValueBias: read.flag("add_qkv_bias"),
      queryKeyNorm: false,
      tiedHead: false,
      normalizedHead: false,
      maxTokens: read.number("seq_length", 2048),
      bosId: read.tokenId("bos_token_id", vocabularySize),
      eosId: read.tokenId("eos_token_id", vocabularySize),
    };
    read.finish();
    return checkSpec(spec, where);
  },
  writeConfig: (spec) => ({
    architectures: ["ChatGLMModel"],
    model_type: "chatglm",
    padded_vocab_size: spec.vocabularySize,
    vocab_size: spec.vocabularySize,
    hidden_size: spec.width,
    ffn_hidden_size: spec.feedForward,
    num_layers: spec.layers,
    num_attention_heads: spec.heads,
    kv_channels: spec.headWidth,
    multi_query_attention: true,
    multi_query_group_num: spec.keyValueHeads,
    seq_length: spec.maxTokens,
    layernorm_epsilon: spec.normEpsilon,
    rmsnorm: true,
    post_layer_norm: true,
    apply_residual_connection_post_layernorm: false,
    add_bias_linear: false,
    add_qkv_bias: spec.queryKeyValueBias,
    original_rope: true,
    tie_word_embeddings: false,
    bos_token_id: spec.bosId,
    eos_token_id: spec.eosId,
    pad_token_id: 0,
    ...writePromptAttention(spec),
  }),
  gguf: { architecture: "chatglm", rotaryLayout: "interleaved", sentencePieceRule: "chatglm-spm", fields: [] },
  tokenizer: {
    tokenizerClass: "ChatGLMTokenizer",
    // tokenization_chatglm.py of ChatGLM2-6B: ids 64,789 and on. `[gMASK]` `sop` begin a prompt in place of a begin mark.
    commandPieces: ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"],
    beginPieces: ["[gMASK]", "sop"],
  },
  needsAuthorsCode: true,
  chatTemplate: "chatglm2",
  init: {
    deviation: 0.02,
    queryKeyValueBias: true,
    tiny: { chatglm2: { ...TINY_SIZES, normEpsilon: 1e-5, vocabularyMultiple: 256 } },
  },
};
