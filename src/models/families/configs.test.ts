import { describe, expect, it } from "vitest";
import { UserErrors } from "../../base/errors.ts";
import { parameterCount } from "../layer.ts";
import { specFromSizes } from "../sizes.ts";
import type { ModelSizes } from "../spec.ts";
import { TINY_MODELS } from "../tiny.ts";
import { readSpec } from "./registry.ts";

// The published config.json of each model, without what every model of transformers has.

const CHATGLM2_6B = {
  model_type: "chatglm",
  architectures: ["ChatGLMModel"],
  add_bias_linear: false,
  add_qkv_bias: true,
  apply_query_key_layer_scaling: true,
  apply_residual_connection_post_layernorm: false,
  attention_softmax_in_fp32: true,
  bias_dropout_fusion: true,
  ffn_hidden_size: 13696,
  fp32_residual_connection: false,
  hidden_size: 4096,
  kv_channels: 128,
  layernorm_epsilon: 1e-5,
  multi_query_attention: true,
  multi_query_group_num: 2,
  num_attention_heads: 32,
  num_layers: 28,
  original_rope: true,
  padded_vocab_size: 65024,
  post_layer_norm: true,
  rmsnorm: true,
  seq_length: 32768,
  tie_word_embeddings: false,
  eos_token_id: 2,
};

const BAICHUAN2_7B = {
  model_type: "baichuan",
  architectures: ["BaichuanForCausalLM"],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 4096,
  intermediate_size: 11008,
  max_position_embeddings: 4096,
  model_max_length: 4096,
  num_attention_heads: 32,
  num_hidden_layers: 32,
  pad_token_id: 0,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  vocab_size: 125696,
};

const { max_position_embeddings: _none, ...WITHOUT_POSITIONS } = BAICHUAN2_7B;
const BAICHUAN2_13B = {
  ...WITHOUT_POSITIONS,
  hidden_size: 5120,
  intermediate_size: 13696,
  num_attention_heads: 40,
  num_hidden_layers: 40,
};

const QWEN25_05B = {
  model_type: "qwen2",
  bos_token_id: 151643,
  eos_token_id: 151643,
  hidden_act: "silu",
  hidden_size: 896,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 24,
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

const QWEN25_7B = {
  ...QWEN25_05B,
  hidden_size: 3584,
  intermediate_size: 18944,
  max_window_layers: 28,
  num_attention_heads: 28,
  num_hidden_layers: 28,
  num_key_value_heads: 4,
  tie_word_embeddings: false,
  vocab_size: 152064,
};

const QWEN3_06B = {
  model_type: "qwen3",
  attention_bias: false,
  bos_token_id: 151643,
  eos_token_id: 151645,
  head_dim: 128,
  hidden_act: "silu",
  hidden_size: 1024,
  intermediate_size: 3072,
  max_position_embeddings: 40960,
  max_window_layers: 28,
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  rope_scaling: null,
  rope_theta: 1_000_000,
  sliding_window: null,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

function problemsOf(config: Record<string, unknown>): readonly string[] {
  try {
    readSpec(config, "models/x");
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    expect(error.message.startsWith("models/x: ")).toBe(true);
    return error.problems;
  }
  return [];
}

describe("published configurations", () => {
  it.each([
    ["ChatGLM2-6B", CHATGLM2_6B, 6_243_584_000],
    ["Baichuan2-7B", BAICHUAN2_7B, 7_505_973_248],
    ["Baichuan2-13B", BAICHUAN2_13B, 13_896_668_160],
    ["Qwen2.5-0.5B", QWEN25_05B, 494_032_768],
    ["Qwen2.5-7B", QWEN25_7B, 7_615_616_512],
    ["Qwen3-0.6B", QWEN3_06B, 596_049_920],
  ])("%s has the number of parameters that it is known to have", (_, config, count) => {
    expect(parameterCount(readSpec(config, "x"))).toBe(count);
  });

  it("of ChatGLM2-6B", () => {
    expect(readSpec(CHATGLM2_6B, "x")).toMatchObject({
      family: "chatglm",
      vocabularySize: 65024,
      heads: 32,
      keyValueHeads: 2,
      headWidth: 128,
      positions: { kind: "rotary", base: 10_000, layout: "interleaved", rotatedWidth: 64 },
      queryKeyValueBias: true,
      tiedHead: false,
      maxTokens: 32768,
      bosId: null,
      eosId: 2,
    });
  });

  it("of Baichuan2 tell rotary positions and ALiBi apart", () => {
    const rotary = { kind: "rotary", base: 10_000, layout: "halves", rotatedWidth: 128 };
    expect(readSpec(BAICHUAN2_7B, "x")).toMatchObject({ positions: rotary, normalizedHead: true, maxTokens: 4096 });
    expect(readSpec(WITHOUT_POSITIONS, "x").positions).toEqual(rotary);
    expect(readSpec(BAICHUAN2_13B, "x")).toMatchObject({ positions: { kind: "alibi" }, keyValueHeads: 40 });
    const added = { ...BAICHUAN2_13B, max_position_embeddings: 4096 };
    expect(readSpec(added, "x").positions.kind).toBe("alibi");
    const small = { hidden_size: 64, num_attention_heads: 4, intermediate_size: 96, num_hidden_layers: 2 };
    expect(readSpec({ ...BAICHUAN2_7B, ...small }, "x").positions.kind).toBe("rotary");
    const long = { ...BAICHUAN2_13B, ...small, model_max_length: 8192 };
    expect(readSpec(long, "x")).toMatchObject({ positions: { kind: "alibi" }, maxTokens: 8192 });
  });

  it("of Qwen", () => {
    const rotary = { kind: "rotary", base: 1_000_000, layout: "halves" };
    expect(readSpec(QWEN25_05B, "x")).toMatchObject({
      positions: { ...rotary, rotatedWidth: 64 },
      queryKeyValueBias: true,
      queryKeyNorm: false,
      tiedHead: true,
    });
    expect(readSpec(QWEN3_06B, "x")).toMatchObject({
      positions: { ...rotary, rotatedWidth: 128 },
      headWidth: 128,
      queryKeyValueBias: false,
      queryKeyNorm: true,
    });
    const { head_dim, ...unsaid } = QWEN3_06B;
    expect(readSpec(unsaid, "x").headWidth).toBe(128);
  });

  it("of Qwen as transformers 5 writes them", () => {
    const { rope_theta, ...rest } = QWEN25_05B;
    const layers = Array.from({ length: 24 }, () => "full_attention");
    const config = { ...rest, layer_types: layers, rope_parameters: { rope_type: "default", rope_theta } };
    expect(readSpec(config, "x")).toEqual(readSpec(QWEN25_05B, "x"));
  });
});

describe("options that are not computed here", () => {
  const family = '"tie_word_embeddings" is true, supported: false';
  it.each([
    [CHATGLM2_6B, { multi_query_attention: false }, ['"multi_query_attention" is false, supported: true']],
    [CHATGLM2_6B, { rope_ratio: 50 }, ['"rope_ratio" is 50, supported: 1']],
    [CHATGLM2_6B, { quantization_bit: 4 }, ['"quantization_bit" is 4, supported: 0']],
    [CHATGLM2_6B, { pre_seq_len: 128 }, ['"pre_seq_len" is 128, supported: nothing']],
    [CHATGLM2_6B, { rmsnorm: false }, ['"rmsnorm" is false, supported: true']],
    [CHATGLM2_6B, { interleaved_qkv: true }, ['"interleaved_qkv" is true, supported: false']],
    [CHATGLM2_6B, { add_bias_linear: true }, ['"add_bias_linear" is true, supported: false']],
    [CHATGLM2_6B, { kv_channels: 126 }, ["the rotated width is 63, expected an even number up to the head width 126"]],
    [CHATGLM2_6B, { tie_word_embeddings: true }, [family]],
    [BAICHUAN2_7B, { tie_word_embeddings: true }, [family]],
    [BAICHUAN2_7B, { num_key_value_heads: 8 }, ['"num_key_value_heads" is 8, supported: 32']],
    [BAICHUAN2_7B, { rope_theta: 5e5 }, ['"rope_theta" is 500000, supported: 10000']],
    [
      BAICHUAN2_7B,
      { vocab_size: 64000 },
      [
        '"vocab_size" is 64000, supported: the vocabulary of a Baichuan2 model (the first Baichuan models have another output layer)',
      ],
    ],
    [
      QWEN25_7B,
      { use_sliding_window: true, max_window_layers: 20 },
      ['"use_sliding_window" is true, supported: false'],
    ],
    [QWEN25_7B, { use_sliding_window: true }, []],
    [QWEN25_7B, { use_sliding_window: true, max_window_layers: 20, sliding_window: null }, []],
    [
      QWEN3_06B,
      { layer_types: ["sliding_attention"] },
      ['"layer_types" is ["sliding_attention"], supported: "full_attention" for every layer'],
    ],
    [QWEN3_06B, { prompt_attention: "both" }, []],
    [QWEN3_06B, { prompt_attention: "all" }, ['"prompt_attention" is "all", supported: "causal", "both"']],
    [CHATGLM2_6B, { prompt_attention: 1 }, ['"prompt_attention" is 1, supported: "causal", "both"']],
    [QWEN3_06B, { attention_bias: true }, ['"attention_bias" is true, supported: false']],
    [
      QWEN3_06B,
      { rope_scaling: { rope_type: "dynamic", factor: 4 } },
      [
        '"rope_scaling" is {"rope_type":"dynamic","factor":4}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
      ],
    ],
    [QWEN3_06B, { quantization_config: { bits: 4 } }, ['"quantization_config" is {"bits":4}, supported: nothing']],
  ])("are refused: %#", (config, change, problems) => {
    expect(problemsOf({ ...config, ...change })).toEqual(problems);
  });

  it("of the first ChatGLM-6B are named, with what is missing", () => {
    const first = { model_type: "chatglm", hidden_size: 4096, num_layers: 28, position_encoding_2d: true };
    const problems = problemsOf({ ...first, num_attention_heads: 32, inner_hidden_size: 16384, vocab_size: 130528 });
    expect(problems[0]).toBe('"position_encoding_2d" is true, supported: false');
    expect(problems).toContain('"padded_vocab_size" is missing, expected a number');
  });
});

describe("sizes of a model from nothing", () => {
  const tokenizer = { vocabularySize: 300, bosId: 1, eosId: 2 };
  const made = (sizes: ModelSizes) => specFromSizes(sizes, tokenizer, "model.init");
  const problems = (sizes: ModelSizes): readonly string[] => {
    try {
      made(sizes);
    } catch (error) {
      return error instanceof UserErrors ? error.problems : [(error as Error).message];
    }
    return [];
  };

  it("get the traits of their family", () => {
    const chatglm2 = made(TINY_MODELS.chatglm2);
    expect(chatglm2).toMatchObject({ vocabularySize: 512, tokenCount: 300, queryKeyValueBias: true, keyValueHeads: 2 });
    expect(chatglm2.positions).toMatchObject({ layout: "interleaved", rotatedWidth: 8 });
    expect(made(TINY_MODELS["baichuan2-13b"])).toMatchObject({ positions: { kind: "alibi" }, normalizedHead: true });
    expect(made(TINY_MODELS.qwen3)).toMatchObject({ headWidth: 32, queryKeyNorm: true, vocabularySize: 384 });
    expect(made(TINY_MODELS.llama2)).toMatchObject({ vocabularySize: 300, queryKeyValueBias: false });
  });

  it("that a family cannot have are all reported", () => {
    expect(problems({ ...TINY_MODELS.llama2, positions: "alibi" })).toEqual([
      "positions is alibi, but llama models have rotary here",
    ]);
    expect(problems({ ...TINY_MODELS.chatglm2, tiedHead: true, rotaryBase: 500 })).toEqual([
      "tiedHead is true, but chatglm models have false here",
      "rotaryBase is 500, but chatglm models have 10000 here",
    ]);
    expect(problems({ ...TINY_MODELS["baichuan2-7b"], keyValueHeads: 2, headWidth: 32 })).toEqual([
      "keyValueHeads is 2, but baichuan models have 4 here",
      "headWidth is 32, but baichuan models have 16 here",
    ]);
    expect(problems({ ...TINY_MODELS.llama2, heads: 5 })).toEqual([
      "model.init: width 64 cannot be shared evenly by 5 heads.",
    ]);
    expect(problems({ ...TINY_MODELS.llama2, keyValueHeads: 3 })).toEqual([
      "4 heads cannot share 3 key/value heads evenly",
    ]);
  });
});
