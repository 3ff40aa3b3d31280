import { join } from "node:path";
import { showValue } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { unsupportedEntries, unusable } from "./peft-config.ts";
import { readPeftConfig } from "./peft-config-file.ts";
import { openPeftTensors } from "./peft-folder.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { TensorToWrite } from "./tensor-source.ts";

/** The sizes of a prefix in PEFT's adapter_config.json (PREFIX_TUNING). */
export interface PeftPrefixConfig {
  tokens: number; // P
  layers: number;
  /** Key and value heads of a layer, and the width of all of them together. */
  keyValueHeads: number; // G
  width: number; // G·D
  baseModel: string | null;
}

export interface PeftPrefix {
  config: PeftPrefixConfig;
  /** Keys and values of all layers, [P, 2 · layers · G·D]: for each layer the keys, then the values. */
  values: Float32Array;
}

/** The name that PEFT gives the values. */
const TENSOR = "prompt_embeddings";

/** More than any use, and far below what a typed array can hold. */
const MOST = 1 << 20;

/** Entries that do not change what a finished prefix computes (PEFT 0.21), and those read below. A projection has been computed when it is saved. */
const FREE = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "encoder_hidden_size",
  "inference_mode",
  "init_weights",
  "num_attention_heads",
  "num_layers",
  "num_transformer_submodules",
  "num_virtual_tokens",
  "peft_type",
  "peft_version",
  "prefix_projection",
  "revision",
  "task_type",
  "token_dim",
]);

/** Reads a PEFT folder with a prefix. Throws a UserErrors with all problems of its configuration, or for values that do not have its sizes. */
export async function readPeftPrefix(directory: string): Promise<PeftPrefix> {
  const { file, raw } = await readPeftConfig(directory);
  const problems: string[] = [];
  const expect = (key: string, expected: string, fits: boolean) => {
    if (!fits) problems.push(`"${key}" is ${showValue(raw[key])}, expected ${expected}`);
  };
  const countOf = (key: string): number => {
    const value = raw[key];
    const fits = Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MOST;
    expect(key, `a whole number from 1 to ${MOST}`, fits);
    return value as number;
  };
  expect("peft_type", '"PREFIX_TUNING"', raw.peft_type === "PREFIX_TUNING");
  const { num_transformer_submodules: submodules = null } = raw;
  expect("num_transformer_submodules", "1 (a decoder)", submodules === null || submodules === 1);
  const config = {
    tokens: countOf("num_virtual_tokens"),
    layers: countOf("num_layers"),
    keyValueHeads: countOf("num_attention_heads"),
    width: countOf("token_dim"),
    baseModel: typeof raw.base_model_name_or_path === "string" ? raw.base_model_name_or_path : null,
  };
  problems.push(...unsupportedEntries(raw, FREE));
  if (problems.length > 0) throw unusable(file, problems);
  const tensors = await openPeftTensors(directory);
  try {
    const shape = [config.tokens, 2 * config.layers * config.width];
    const got = [...tensors.tensors.values()].map(({ name, shape: own }) => `${showValue(name, 100)} [${own}]`);
    const wanted = `"${TENSOR}" [${shape}]`;
    if (got.length !== 1 || got[0] !== wanted) {
      const named = got.length > 3 ? `${got.slice(0, 3).join(", ")} and ${got.length - 3} more` : got.join(", ");
      throw unusable(directory, [`has ${named || "no tensor"}, expected ${wanted} as adapter_config.json says`]);
    }
    return { config, values: await tensors.read(TENSOR) };
  } finally {
    await tensors.close();
  }
}

/**
 * Writes a prefix as PEFT does; the configuration comes last, so that a folder with one is complete. The values are there, not the network that
 * made them, so the folder says that it has no projection: then PEFT can train it further.
 */
export async function savePeftPrefix(
  directory: string,
  config: PeftPrefixConfig,
  values: TensorToWrite["values"],
): Promise<void> {
  const { tokens, layers, keyValueHeads, width } = config;
  const tensor: TensorToWrite = { name: TENSOR, dtype: "F32", shape: [tokens, 2 * layers * width], values };
  await writeSafetensors(join(directory, "adapter_model.safetensors"), [tensor]);
  const json = {
    peft_type: "PREFIX_TUNING",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: config.baseModel,
    num_virtual_tokens: tokens,
    num_layers: layers,
    num_attention_heads: keyValueHeads,
    token_dim: width,
    num_transformer_submodules: 1,
    encoder_hidden_size: width,
    prefix_projection: false,
    init_weights: null,
    inference_mode: true,
  };
  await writeFileAtomic(join(directory, "adapter_config.json"), `${JSON.stringify(json, null, 2)}\n`);
}
