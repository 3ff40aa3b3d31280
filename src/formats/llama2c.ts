import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { fileSizeBytes } from "../base/files.ts";
import type { Checkpoint } from "./hf-folder.ts";
import { readBytes } from "./safetensors.ts";
import { decodeElements, elementCount, type TensorInfo } from "./tensor-source.ts";

const HEADER_BYTES = 28;
const MAX_SIZE = 1 << 20;

/**
 * Opens a checkpoint of llama2.c's first format: seven int32 (width, hidden, layers, heads, key/value heads, vocabulary — negative when the
 * head is not tied —, positions), then float32 weights. Its tensors get Hugging Face names; q and k rows keep llama2.c's interleaved
 * rotary pairs, which the configuration says as `"rope_layout": "interleaved"`.
 */
export async function openLlama2c(file: string): Promise<Checkpoint> {
  const sizeBytes = await fileSizeBytes(file, "a llama2.c checkpoint");
  if (sizeBytes < HEADER_BYTES)
    throw new UserError(`${file}: has ${sizeBytes} bytes, too short for llama2.c's header.`);
  const handle = await open(file);
  try {
    const header = Buffer.from(await readBytes(handle, file, 0, HEADER_BYTES));
    const [width, hidden, layers, heads, keyValueHeads, signedVocabulary, positions] = Array.from(
      { length: 7 },
      (_, i) => header.readInt32LE(i * 4),
    );
    const vocabulary = Math.abs(signedVocabulary);
    const sizes = { width, hidden, layers, heads, keyValueHeads, vocabulary, positions };
    for (const [name, size] of Object.entries(sizes)) {
      if (size < 1 || size > MAX_SIZE) throw new UserError(`${file}: ${name} is ${size}, expected 1 to ${MAX_SIZE}.`);
    }
    if (width % heads !== 0 || heads % keyValueHeads !== 0) {
      throw new UserError(
        `${file}: ${width} wide with ${heads} heads and ${keyValueHeads} key/value heads does not divide.`,
      );
    }
    const headWidth = width / heads;
    const keyValueWidth = headWidth * keyValueHeads;
    const tensors = new Map<string, TensorInfo & { startByte: number }>();
    let offset = HEADER_BYTES;
    const place = (name: string, ...shape: number[]) => {
      tensors.set(name, { name, dtype: "F32", shape, file, startByte: offset });
      offset += elementCount(shape) * 4;
    };
    const perLayer = (name: string, ...shape: number[]) => {
      for (let i = 0; i < layers; i++) place(`model.layers.${i}.${name}.weight`, ...shape);
    };
    place("model.embed_tokens.weight", vocabulary, width);
    perLayer("input_layernorm", width);
    perLayer("self_attn.q_proj", width, width);
    perLayer("self_attn.k_proj", keyValueWidth, width);
    perLayer("self_attn.v_proj", keyValueWidth, width);
    perLayer("self_attn.o_proj", width, width);
    perLayer("post_attention_layernorm", width);
    perLayer("mlp.gate_proj", hidden, width);
    perLayer("mlp.down_proj", width, hidden);
    perLayer("mlp.up_proj", hidden, width);
    place("model.norm.weight", width);
    offset += positions * headWidth * 4; // two unused rotary tables of [positions, headWidth / 2]
    if (signedVocabulary < 0) place("lm_head.weight", vocabulary, width);
    if (offset !== sizeBytes) {
      throw new UserError(`${file}: has ${sizeBytes} bytes, but its header ${JSON.stringify(sizes)} needs ${offset}.`);
    }
    return {
      directory: file,
      config: {
        model_type: "llama",
        architectures: ["LlamaForCausalLM"],
        hidden_size: width,
        intermediate_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: keyValueHeads,
        vocab_size: vocabulary,
        max_position_embeddings: positions,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000,
        rope_layout: "interleaved",
        tie_word_embeddings: signedVocabulary > 0,
        bos_token_id: 1,
        eos_token_id: 2,
        hidden_act: "silu",
      },
      source: {
        tensors,
        async read(name) {
          const info = tensors.get(name);
          if (!info) throw new UserError(`${file}: tensor "${name}" is missing.`);
          return decodeElements(await readBytes(handle, file, info.startByte, elementCount(info.shape) * 4), "F32");
        },
        close: () => handle.close(),
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The llama2.c checkpoint in a folder without config.json: its only large `.bin` file whose header fits; null when there is none. */
export async function findLlama2c(directory: string): Promise<string | null> {
  for (const name of (await readdir(directory)).sort()) {
    if (!name.endsWith(".bin") || name.startsWith("tok")) continue;
    const file = join(directory, name);
    try {
      const checkpoint = await openLlama2c(file);
      await checkpoint.source.close();
      return file;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
  }
  return null;
}
