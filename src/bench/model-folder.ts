import { createRandom } from "../base/random.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { elementCount, type TensorToWrite } from "../formats/tensor-source.ts";
import { familyNamed } from "../models/families/registry.ts";
import { specFromSizes } from "../models/sizes.ts";
import type { DecoderSpec, ModelSizes } from "../models/spec.ts";
import { modelTensors } from "../models/tensors.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";

const SHARED = { width: 4096, heads: 32, maxTokens: 4096, tiedHead: false, normEpsilon: 1e-5, rotaryBase: 10_000 };

/** The published models that loading is measured on. */
export const PUBLISHED_SIZES = {
  "llama2-7b": { ...SHARED, family: "llama", layers: 32, keyValueHeads: 32, feedForward: 11_008 },
  "chatglm2-6b": {
    ...{ ...SHARED, family: "chatglm", layers: 28, keyValueHeads: 2, feedForward: 13_696 },
    ...{ maxTokens: 32_768, vocabularyMultiple: 256 },
  },
  "baichuan2-7b": {
    ...{ ...SHARED, family: "baichuan", layers: 32, keyValueHeads: 32, feedForward: 11_008 },
    normEpsilon: 1e-6,
  },
} as const satisfies Record<string, ModelSizes>;

export type PublishedName = keyof typeof PUBLISHED_SIZES;

/** A prime, so that rows do not repeat. */
const BLOCK_ELEMENTS = 1_048_573;

/**
 * Writes a Hugging Face folder of such a size, one tensor after the other: bfloat16 shards of at most 5 GB with an index, norms of one, all
 * else random (a block of normal numbers that is repeated), and the tokenizer of another folder.
 */
export async function writeModelFolder(
  directory: string,
  sizes: ModelSizes,
  tokenizerPath: string,
  options: { onProgress?: (writtenBytes: number, totalBytes: number) => void; maxShardBytes?: number } = {},
): Promise<DecoderSpec> {
  const tokenizer = await openModelTokenizer(tokenizerPath, { modelType: sizes.family });
  const spec = specFromSizes(sizes, tokenizer, directory);
  const family = familyNamed(spec.family, directory);
  const random = createRandom(1);
  const block = Float32Array.from({ length: BLOCK_ELEMENTS }, () => random.normal() * 0.02);
  const wanted = modelTensors(spec, family);
  const totalBytes = 2 * wanted.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  let writtenBytes = 0;
  const tensors = wanted.map(({ name, shape, initial }): TensorToWrite => {
    const values = async () => {
      const count = elementCount(shape);
      writtenBytes += 2 * count;
      options.onProgress?.(writtenBytes, totalBytes);
      return initial === "ones"
        ? new Float32Array(count).fill(1)
        : repeated(block, count, random.below(BLOCK_ELEMENTS));
    };
    return { name, dtype: "BF16", shape, values };
  });
  const { maxShardBytes = 5e9 } = options;
  await saveHuggingFaceFolder(directory, { ...family.writeConfig(spec), torch_dtype: "bfloat16" }, tensors, {
    maxShardBytes,
  });
  await copyTokenizer(tokenizerPath, directory);
  return spec;
}

/** `count` numbers of a block, over and over, from `start` on. */
function repeated(block: Float32Array, count: number, start: number): Float32Array {
  const values = new Float32Array(count);
  let from = start;
  for (let at = 0; at < count; from = 0) {
    const part = block.subarray(from, from + count - at);
    values.set(part, at);
    at += part.length;
  }
  return values;
}
