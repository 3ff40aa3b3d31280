import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UserErrors } from "../../base/errors.ts";
import { LAYER_SLOTS, parameterCount, slotShape } from "../layer.ts";
import { checkSpec } from "../spec.ts";
import { llama } from "./llama.ts";
import { familyNamed, familyOf, readSpec } from "./registry.ts";

/** The published config.json of Llama-2-7B. */
const LLAMA2_7B = {
  architectures: ["LlamaForCausalLM"],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 4096,
  initializer_range: 0.02,
  intermediate_size: 11008,
  max_position_embeddings: 4096,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 32,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  tie_word_embeddings: false,
  torch_dtype: "float16",
  use_cache: true,
  vocab_size: 32000,
};

function problemsOf(changes: Record<string, unknown>): readonly string[] {
  try {
    readSpec({ ...LLAMA2_7B, ...changes }, "models/x");
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    expect(error.message.startsWith("models/x: ")).toBe(true);
    return error.problems;
  }
  return [];
}

describe("the configuration of a Llama model", () => {
  it("is read into a specification", () => {
    expect(readSpec(LLAMA2_7B, "x")).toEqual({
      family: "llama",
      vocabularySize: 32000,
      tokenCount: 32000,
      width: 4096,
      layers: 32,
      heads: 32,
      keyValueHeads: 32,
      headWidth: 128,
      feedForward: 11008,
      normEpsilon: 1e-5,
      positions: { kind: "rotary", base: 10000, layout: "halves", rotatedWidth: 128 },
      promptAttention: "causal",
      queryKeyValueBias: false,
      queryKeyNorm: false,
      tiedHead: false,
      normalizedHead: false,
      maxTokens: 4096,
      bosId: 1,
      eosId: 2,
    });
  });

  it("counts the parameters that Llama-2-7B and -13B are known to have", () => {
    expect(parameterCount(readSpec(LLAMA2_7B, "x"))).toBe(6_738_415_616);
    const larger = { hidden_size: 5120, intermediate_size: 13824, num_attention_heads: 40, num_hidden_layers: 40 };
    expect(parameterCount(readSpec({ ...LLAMA2_7B, ...larger, num_key_value_heads: 40 }, "x"))).toBe(13_015_864_320);
  });

  it("has defaults where transformers has them", () => {
    const { num_key_value_heads, rms_norm_eps, max_position_embeddings, hidden_act, eos_token_id, ...config } =
      LLAMA2_7B;
    expect(readSpec(config, "x")).toMatchObject({ keyValueHeads: 32, normEpsilon: 1e-6, maxTokens: 2048, eosId: null });
  });

  it("is read as transformers 5 writes it", () => {
    const file = new URL("../../../test/golden/llama-peft/config.json", import.meta.url);
    const spec = readSpec(JSON.parse(readFileSync(file, "utf8")), "x");
    expect(spec).toMatchObject({ headWidth: 4, keyValueHeads: 2, positions: { base: 500, layout: "halves" } });
    expect(readSpec({ ...LLAMA2_7B, rope_theta: 5e5 }, "x").positions).toMatchObject({ base: 5e5 });
    const parameters = { rope_type: "default", rope_theta: 1e6 };
    for (const rope_parameters of [parameters, { full_attention: parameters }]) {
      expect(readSpec({ ...LLAMA2_7B, rope_parameters }, "x").positions).toMatchObject({ base: 1e6 });
    }
  });

  it("uses the first of several end tokens", () => {
    expect(readSpec({ ...LLAMA2_7B, eos_token_id: [7, 8] }, "x").eosId).toBe(7);
  });

  it("comes back from what is written", () => {
    const spec = readSpec(LLAMA2_7B, "x");
    expect(readSpec(llama.writeConfig(spec), "x")).toEqual(spec);
    expect(readSpec(llama.writeConfig({ ...spec, bosId: null, tiedHead: true }), "x")).toEqual({
      ...spec,
      bosId: null,
      tiedHead: true,
    });
  });

  it.each([
    [{ hidden_act: "gelu" }, '"hidden_act" is "gelu", supported: "silu", "swish"'],
    [{ attention_bias: true }, '"attention_bias" is true, supported: false'],
    [{ mlp_bias: true }, '"mlp_bias" is true, supported: false'],
    [{ quantization_config: { bits: 4 } }, '"quantization_config" is {"bits":4}, supported: nothing'],
    [
      { rope_scaling: { type: "linear" } },
      '"rope_scaling" is {"type":"linear"}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_scaling: { rope_type: "llama3" } },
      '"rope_scaling" is {"rope_type":"llama3"}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_theta: 7, rope_parameters: { rope_type: "default", rope_theta: 1e6 } },
      '"rope_parameters" is {"rope_type":"default","rope_theta":1000000}, supported: one base in all entries, 7 is another',
    ],
    [
      { rope_scaling: { factor: 2 } },
      '"rope_scaling" is {"factor":2}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_scaling: { constructor: 2 } },
      '"rope_scaling" is {"constructor":2}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_scaling: { rope_type: "default", type: "linear" } },
      '"rope_scaling" is {"rope_type":"default","type":"linear"}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_parameters: { full_attention: { rope_theta: 5 }, sliding_attention: { rope_theta: 6 } } },
      '"rope_parameters" is {"full_attention":{"rope_theta":5},"sliding_attention":{"rope_theta":6}}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [{ tie_word_embeddings: "true" }, '"tie_word_embeddings" is "true", expected true or false'],
    [{ a_key_of_next_year: 2 }, '"a_key_of_next_year" is 2, which may change what the model computes: not supported'],
    [{ use_rope: false }, '"use_rope" is false, which may change what the model computes: not supported'],
    [
      { is_encoder_decoder: true },
      '"is_encoder_decoder" is true, which may change what the model computes: not supported',
    ],
    [
      { rope_scaling: "linear" },
      '"rope_scaling" is "linear", supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_parameters: { rope_type: "yarn" } },
      '"rope_parameters" is {"rope_type":"yarn"}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [
      { rope_parameters: { partial_rotary_factor: 0.5 } },
      '"rope_parameters" is {"partial_rotary_factor":0.5}, supported: plain rotary positions, or those scaled by linear, llama3 or yarn',
    ],
    [{ partial_rotary_factor: 0.5 }, '"partial_rotary_factor" is 0.5, supported: 1'],
    [{ rope_layout: "spiral" }, '"rope_layout" is "spiral", supported: "halves", "interleaved"'],
    [{ hidden_size: "4096" }, '"hidden_size" is "4096", expected a number'],
    [{ hidden_size: undefined }, '"hidden_size" is missing, expected a number'],
    [{ vocab_size: null }, '"vocab_size" is null, expected a number'],
    [{ eos_token_id: 32000 }, '"eos_token_id" is 32000, expected a token id below 32000'],
    [{ bos_token_id: -1 }, '"bos_token_id" is -1, expected a token id below 32000'],
    [{ bos_token_id: [] }, '"bos_token_id" is [], expected a token id below 32000'],
  ])("%j is refused", (change, problem) => {
    expect(problemsOf(change)).toEqual([problem]);
  });

  it("reports all problems together", () => {
    expect(problemsOf({ hidden_act: "gelu", vocab_size: "x", rope_scaling: { type: "dynamic" } })).toHaveLength(3);
  });

  it.each([
    [
      { hidden_size: 0 },
      [
        "width is 0, expected a whole number from 1 to 65536",
        "headWidth is 0, expected a whole number from 1 to 1024",
        "the rotated width is 0, expected an even number up to the head width 0",
      ],
    ],
    [{ num_hidden_layers: 1e9 }, ["layers is 1000000000, expected a whole number from 1 to 1024"]],
    [{ num_key_value_heads: 5 }, ["32 heads cannot share 5 key/value heads evenly"]],
    [{ head_dim: 127 }, ["the rotated width is 127, expected an even number up to the head width 127"]],
    [{ rope_theta: 0 }, ["the rotary base is 0, expected a positive number"]],
    [{ rms_norm_eps: 2 }, ["the norm epsilon is 2"]],
  ])("%j does not fit", (change, problems) => {
    expect(problemsOf(change)).toEqual(problems);
  });
});

describe("families", () => {
  it("are found by model_type", () => {
    expect(familyOf(LLAMA2_7B, "x")).toBe(llama);
    expect(familyNamed("llama", "x")).toBe(llama);
    expect(() => familyOf({ model_type: "mamba" }, "models/x")).toThrow(
      'models/x: model_type is "mamba", supported: llama, chatglm, baichuan, qwen2, qwen3, mistral, glm.',
    );
    expect(() => familyOf({}, "models/x")).toThrow(
      "models/x: model_type is missing, supported: llama, chatglm, baichuan, qwen2, qwen3, mistral, glm.",
    );
    expect(() => familyOf({ model_type: ["llama"] }, "models/x")).toThrow(
      'models/x: model_type is ["llama"], supported',
    );
  });
});

describe("checkSpec", () => {
  it("gives back a specification that fits, with shapes for every slot", () => {
    const spec = readSpec({ ...LLAMA2_7B, num_key_value_heads: 8, head_dim: 64 }, "x");
    expect(checkSpec(spec, "x")).toBe(spec);
    expect(Object.fromEntries(LAYER_SLOTS.map((slot) => [slot, slotShape(spec, slot)]))).toEqual({
      attentionNorm: [4096],
      queryNorm: [64],
      keyNorm: [64],
      q: [2048, 4096],
      k: [512, 4096],
      v: [512, 4096],
      output: [4096, 2048],
      feedForwardNorm: [4096],
      gate: [11008, 4096],
      up: [11008, 4096],
      down: [4096, 11008],
    });
  });
});
