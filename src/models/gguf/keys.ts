import { showValue } from "../../base/errors.ts";
import type { GgufValue } from "../../formats/gguf-header.ts";

/** Entries of a file's architecture that are read, without its name before them. */
export const READ_KEYS: readonly string[] = [
  "context_length",
  "embedding_length",
  "block_count",
  "feed_forward_length",
  "vocab_size",
  "attention.head_count",
  "attention.head_count_kv",
  "attention.key_length",
  "attention.value_length",
  "attention.layer_norm_rms_epsilon",
  "rope.dimension_count",
  "rope.freq_base",
];

/** Entries that are read where "rope.scaling.type" is one of {@link SCALINGS}. */
export const SCALING_KEYS: readonly string[] = [
  "rope.scaling.type",
  "rope.scaling.factor",
  "rope.scaling.original_context_length",
  "rope.scaling.attn_factor",
  "rope.scaling.yarn_beta_fast",
  "rope.scaling.yarn_beta_slow",
];
export const SCALINGS: readonly unknown[] = ["linear", "yarn"];

/** Entries that may have only values which change nothing; llama.cpp reads the factors also where no type is named. */
export const USUAL_VALUES: Readonly<Record<string, readonly unknown[]>> = {
  "rope.scaling.type": ["none", ...SCALINGS],
  "rope.scaling.factor": [0, 1],
  "rope.scale_linear": [0, 1],
  "rope.scaling.attn_factor": [0, 1],
  "rope.scaling.yarn_log_multiplier": [0],
  expert_count: [0],
  expert_used_count: [0],
  "attention.causal": [true],
  "attention.sliding_window": [0],
  "attention.scale": [0],
  "attention.clamp_kqv": [0],
  "attention.max_alibi_bias": [0],
  use_parallel_residual: [false],
  logit_scale: [0, 1],
  residual_scale: [0, 1],
  embedding_scale: [0, 1],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  pooling_type: [0],
  tensor_data_layout: ["Meta AI original pth"],
};

/** Entries that say something only next to one that is refused, or nothing about the numbers. */
export const IGNORED_GGUF_KEYS: readonly string[] = [
  "rope.scaling.original_context_length",
  "rope.scaling.finetuned",
  "attention.layer_norm_epsilon",
];

/**
 * Adds a problem for each entry of the architecture that could change what the model computes and is not computed here. Entries outside of
 * it (general, tokenizer, quantize) describe the file.
 */
export function expectKnownKeys(
  metadata: ReadonlyMap<string, GgufValue>,
  architecture: string,
  problems: string[],
): void {
  const isScaled = SCALINGS.includes(metadata.get(`${architecture}.rope.scaling.type`));
  for (const [key, value] of metadata) {
    if (!key.startsWith(`${architecture}.`)) continue;
    const name = key.slice(architecture.length + 1);
    if (READ_KEYS.includes(name) || IGNORED_GGUF_KEYS.includes(name)) continue;
    if (isScaled && SCALING_KEYS.includes(name)) continue;
    const usual = Object.hasOwn(USUAL_VALUES, name) ? USUAL_VALUES[name] : null;
    if (usual?.includes(value)) continue;
    const expected = usual ? usual.map((one) => showValue(one)).join(" or ") : "no such entry";
    problems.push(
      `${showValue(key, 200)} is ${showValue(value)}, expected ${expected}: it changes what the model computes`,
    );
  }
}
