import { UserError } from "../base/errors.ts";
import type { Weight } from "../compute/backend.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import type { TensorDtype, TensorToWrite } from "../formats/tensor-source.ts";
import { type Decoder, slotWeight } from "./decoder.ts";
import { familyNamed } from "./families/registry.ts";
import { LINEAR_SLOTS, rotatedHeads } from "./layer.ts";
import { layerTensors, type ModelTensor, outerTensors } from "./tensors.ts";
import { joinRows, reorderRotaryRows } from "./weight-rows.ts";

const TORCH_DTYPES: Readonly<Record<TensorDtype, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/**
 * Saves a decoder as a Hugging Face folder that any loader reads: rows of queries and keys in the family's order, matrices joined as the
 * family joins them. Throws a UserError for weights whose storage cannot be saved without loss, an Error for a model whose adapter was
 * neither merged nor detached.
 */
export async function saveDecoder(
  model: Decoder,
  directory: string,
  options: { dtype: TensorDtype; maxShardBytes?: number },
): Promise<void> {
  const { spec, backend } = model;
  const family = familyNamed(spec.family, directory);
  const hasLowRank = model.layers.some((layer) => LINEAR_SLOTS.some((slot) => layer[slot].lowRank !== null));
  if (hasLowRank || model.prefix) {
    throw new Error("A model with an adapter cannot be saved: merge or detach it first.");
  }
  const { positions } = spec;
  const reorders = positions.kind === "rotary" && positions.layout !== family.rotaryLayout;
  const tensors: TensorToWrite[] = [];
  const put = ({ name, shape }: ModelTensor, parts: readonly { weight: Weight; heads: number }[]) => {
    const lossy = parts.find(({ weight: { storage } }) => storage !== "float32" && storage !== "bfloat16");
    if (lossy) {
      throw new UserError(
        `${directory}: "${name}" is kept as ${lossy.weight.storage} and cannot be saved without loss.`,
      );
    }
    const values = async () => {
      const read = parts.map(async ({ weight, heads }): Promise<ArrayLike<number>> => {
        const own = await backend.readWeight(weight);
        return reorders && heads > 0 ? reorderRotaryRows(own, heads, spec.headWidth, family.rotaryLayout) : own;
      });
      return joinRows(await Promise.all(read));
    };
    tensors.push({ name, dtype: options.dtype, shape, values });
  };
  const outer = outerTensors(spec, family);
  put(outer.embedding, [{ weight: model.embedding, heads: 0 }]);
  for (const [index, layer] of model.layers.entries()) {
    for (const tensor of layerTensors(spec, family, index)) {
      const parts = tensor.slots.map((slot) => ({
        weight: slotWeight(layer, slot, tensor.kind) as Weight,
        heads: rotatedHeads(spec, slot),
      }));
      put(tensor, parts);
    }
  }
  put(outer.finalNorm, [{ weight: model.finalNorm, heads: 0 }]);
  if (outer.head) put(outer.head, [{ weight: model.head.weight, heads: 0 }]);
  const saved = reorders ? { ...spec, positions: { ...positions, layout: family.rotaryLayout } } : spec;
  const config = { ...family.writeConfig(saved), torch_dtype: TORCH_DTYPES[options.dtype] };
  await saveHuggingFaceFolder(directory, config, tensors, { maxShardBytes: options.maxShardBytes });
}
