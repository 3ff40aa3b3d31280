/** Why an entry of config.json that is not read changes nothing of what a decoder computes here. */
export const REASONS = {
  origin: "says where the model is from, or which program wrote it",
  code: "names classes and code of other programs",
  generation: "says how text is generated; `decode` of the recipe does that here",
  training: "matters only while the model is pretrained",
  precision: "says how other programs keep or compute the numbers",
  other: "belongs to another kind of model, and every configuration of transformers has it",
  length: "limits the length of texts without changing the numbers",
} as const;

export type IgnoredKeys = Readonly<Record<keyof typeof REASONS, readonly string[]>>;

/** Entries that any config.json may have. Names that begin with "_" are transformers' own notes and are ignored, too. */
export const IGNORED_KEYS: IgnoredKeys = {
  origin: ["transformers_version", "unsloth_version", "unsloth_fixed", "finetuning_task", "task_specific_params"],
  code: [
    ...["architectures", "auto_map", "tokenizer_class", "attn_implementation", "use_flash_attn", "torchscript"],
    ...["return_dict", "output_attentions", "output_hidden_states", "use_return_dict", "custom_pipelines"],
  ],
  generation: [
    ...["use_cache", "pad_token_id", "sep_token_id", "decoder_start_token_id", "max_length", "min_length", "do_sample"],
    ...["max_new_tokens", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature"],
    ...["top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"],
    ...["encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores"],
    ...["return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"],
    ...["exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "prefix", "unk_token_id"],
  ],
  training: [
    ...["initializer_range", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"],
    ...["classifier_dropout", "z_loss_weight", "gradient_checkpointing", "pretraining_tp"],
  ],
  precision: [
    "torch_dtype",
    "dtype",
    "use_bfloat16",
    "bf16",
    "fp16",
    "fp32",
    "tf_legacy_loss",
    "chunk_size_feed_forward",
  ],
  other: [
    ...["id2label", "label2id", "num_labels", "problem_type", "is_decoder", "cross_attention_hidden_size"],
    ...["tie_encoder_decoder", "pruned_heads"],
  ],
  length: ["model_max_length", "max_sequence_length", "max_seq_len"],
};
