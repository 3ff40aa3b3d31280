import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { openToRead } from "../base/files.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import type { Checkpoint } from "./model-folder.ts";
import { readBytes } from "./read-bytes.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import { decodeElements, elementCount, type TensorInfo } from "./tensor-source.ts";

const HEADER_BYTES = 28;
const MAX_SIZE = 1 << 20;

/** Consecutive tensors of one shape; without names they are skipped. */
interface Block {
  nameOf: ((index: number) => string) | null;
  count: number;
  shape: number[];
}

/**
 * Opens a checkpoint of llama2.c's first format: seven int32 (width, hidden, layers, heads, key/value heads, vocabulary — negative when the
 * head is not tied —, positions), then float32 weights. Its tensors get Hugging Face names; rows of q and k keep llama2.c's interleaved
 * rotary pairs, for which the configuration has `"rope_layout": "interleaved"`. Throws a UserError when the header does not fit the file.
 */
export async function openLlama2c(file: string): Promise<Checkpoint> {
  const { handle, sizeBytes } = await openToRead(file, "a llama2.c checkpoint");
  try {
    if (sizeBytes < HEADER_BYTES) {
      throw new UserError(`${file}: has ${sizeBytes} bytes, too short for llama2.c's header.`);
    }
    const header = Buffer.from(await readBytes(handle, file, 0, HEADER_BYTES));
    expectNoLfsPointer(file, header, "the weights themselves");
    const [width, hidden, layers, heads, keyValueHeads, signedVocabulary, positions] = Array.from(
      { length: 7 },
      (_, i) => header.readInt32LE(i * 4),
    );
    const tiedHead = signedVocabulary > 0;
    const vocabulary = Math.abs(signedVocabulary);
    const sizes = { width, hidden, layers, heads, keyValueHeads, vocabulary, positions };
    for (const [name, size] of Object.entries(sizes)) {
      if (size < 1 || size > MAX_SIZE) {
        throw new UserError(`${file}: ${name} is ${size}, expected 1 to ${MAX_SIZE}.`, {
          hint: "Is this a checkpoint of llama2.c's first format (export.py --version 0)?",
        });
      }
    }
    if (width % heads !== 0 || heads % keyValueHeads !== 0) {
      throw new UserError(
        `${file}: ${width} wide with ${heads} heads and ${keyValueHeads} key/value heads does not divide.`,
      );
    }
    const headWidth = width / heads;
    const keyValueWidth = headWidth * keyValueHeads;
    const one = (name: string, ...shape: number[]): Block => ({ nameOf: () => name, count: 1, shape });
    const each = (name: string, ...shape: number[]): Block => ({
      nameOf: (layer) => `model.layers.${layer}.${name}`,
      count: layers,
      shape,
    });
    const blocks: Block[] = [
      one("model.embed_tokens", vocabulary, width),
      each("input_layernorm", width),
      each("self_attn.q_proj", width, width),
      each("self_attn.k_proj", keyValueWidth, width),
      each("self_attn.v_proj", keyValueWidth, width),
      each("self_attn.o_proj", width, width),
      each("post_attention_layernorm", width),
      each("mlp.gate_proj", hidden, width),
      each("mlp.down_proj", width, hidden),
      each("mlp.up_proj", hidden, width),
      one("model.norm", width),
      // Two rotary tables of [positions, headWidth / 2], which no reader uses.
      { nameOf: null, count: 1, shape: [positions, headWidth] },
    ];
    if (!tiedHead) blocks.push(one("lm_head", vocabulary, width));
    // Checked before any list is made: the header may claim a million layers.
    const wantedBytes = blocks.reduce((sum, { count, shape }) => sum + count * elementCount(shape) * 4, HEADER_BYTES);
    if (wantedBytes !== sizeBytes) {
      const claimed = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
      throw new UserError(
        `${file}: has ${sizeBytes} bytes, but its header (${claimed.join(", ")}) needs ${wantedBytes}.`,
        { hint: "The file was cut short or is not a llama2.c checkpoint; download it again." },
      );
    }
    const tensors = new Map<string, TensorInfo & { startByte: number }>();
    let startByte = HEADER_BYTES;
    for (const block of blocks) {
      for (let i = 0; i < block.count; i++) {
        if (block.nameOf) {
          const name = `${block.nameOf(i)}.weight`;
          tensors.set(name, { name, dtype: "F32", shape: block.shape, file, startByte });
        }
        startByte += elementCount(block.shape) * 4;
      }
    }
    const checks = createTensorChecks();
    checks.header(file, header);
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
        tie_word_embeddings: tiedHead,
        bos_token_id: 1,
        eos_token_id: 2,
        hidden_act: "silu",
      },
      source: {
        tensors,
        checks,
        async read(name) {
          const info = tensors.get(name);
          if (!info) throw new UserError(`${file}: tensor "${name}" is missing.`);
          const sizeBytes = elementCount(info.shape) * 4;
          const bytes = await readBytes(handle, file, info.startByte, sizeBytes);
          const stored = { file, name, sizeBytes };
          checks.part(stored, 0, bytes);
          checks.values(stored, "F32", bytes);
          return decodeElements(bytes, "F32");
        },
        close: () => handle.close(),
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * The llama2.c checkpoint in a folder: its first `.bin` file that is one; null when there are only tokenizers (`tok*.bin`) and PyTorch files.
 * Throws the first file's UserError when no file fits.
 */
export async function findLlama2c(directory: string): Promise<string | null> {
  let firstError: UserError | null = null;
  for (const name of (await readdir(directory)).sort()) {
    if (!name.endsWith(".bin") || name.startsWith("tok") || name.startsWith("pytorch_model")) continue;
    const file = join(directory, name);
    try {
      const checkpoint = await openLlama2c(file);
      await checkpoint.source.close();
      return file;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      firstError ??= error;
    }
  }
  if (firstError) throw firstError;
  return null;
}
