import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { createChunkBuffers } from "../formats/row-chunks.ts";
import type { TensorRows } from "../formats/tensor-source.ts";
import { type Decoder, type DecoderLayer, makeLayer } from "./decoder.ts";
import type { Family } from "./family.ts";
import type { LayerSlot } from "./layer.ts";
import type { DecoderSpec, PromptAttention } from "./spec.ts";
import { layerTensors, type ModelTensor, modelTensors, outerTensors, partsOf } from "./tensors.ts";

export interface PlaceOptions {
  /** Of the layers' matrices. Norms stay float32; embedding and head stay bfloat16 where the layers are int8 or nf4, as in QLoRA. */
  storage: WeightStorage;
  /** Of the layers' matrices where that is not `storage`: w8a8, for products of 8 bits. */
  layers?: WeightStorage;
  /** Which of the decoder's own weights are trained, by name, or all or none of them; an output layer with normalised rows never is. */
  trainable: boolean | ((name: string) => boolean);
  /** Number of ids of the model's tokenizer, if known; by default every row of the embedding counts as a token. */
  tokenCount?: number;
  /** What the prompts' tokens see of their prompt, instead of what config.json says. */
  promptAttention?: PromptAttention;
  onProgress?: (done: number, total: number) => void;
}

/** Gives the values of a model's tensors, one tensor at a time. */
export interface TensorValues {
  /** Of a norm or a bias. */
  vector(tensor: ModelTensor): Promise<Float32Array>;
  matrix(tensor: ModelTensor): Promise<TensorRows>;
}

/** Builds a decoder, asking for the values of one tensor after the other; when that fails, frees the weights placed so far. */
export async function placeDecoder(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  tensors: TensorValues,
): Promise<Decoder> {
  const placed: Weight[] = [];
  try {
    const promptAttention = options.promptAttention ?? spec.promptAttention;
    return await placeTensors(backend, { ...spec, promptAttention }, family, options, tensors, placed);
  } catch (error) {
    for (const weight of placed) backend.freeWeight(weight);
    throw error;
  }
}

async function placeTensors(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  tensors: TensorValues,
  placed: Weight[],
): Promise<Decoder> {
  const total = modelTensors(spec, family).length;
  let done = 0;
  const isTrained = (name: string) =>
    typeof options.trainable === "function" ? options.trainable(name) : options.trainable;
  const buffers = createChunkBuffers();
  const keep = (weight: Weight): Weight => {
    placed.push(weight);
    return weight;
  };
  const placeVector = (name: string, values: Float32Array): Weight => {
    const vector = { name, rows: 1, columns: values.length, storage: "float32", trainable: isTrained(name) } as const;
    return keep(backend.weight(vector, values));
  };
  /** Rows of a matrix as a weight of their own. */
  const placeRows = async (
    { name, shape: [rows, columns], start, end }: { name: string; shape: number[]; start: number; end: number },
    { dtype, chunks }: TensorRows,
    storage: WeightStorage,
    normalized = false,
  ): Promise<Weight> => {
    // The authors normalise a copy of the rows once training is over; the normalised copy is not what can be trained.
    const trainable = isTrained(name) && !normalized;
    const matrix = { type: dtype, chunks: chunks(start, end, buffers), normalized };
    return keep(await backend.weightFromChunks({ name, rows, columns, storage, trainable }, matrix));
  };
  /** The embedding or the head. */
  const placeTable = async (tensor: ModelTensor, normalized = false): Promise<Weight> => {
    const storage = options.storage === "float32" ? "float32" : "bfloat16";
    const whole = { ...tensor, start: 0, end: tensor.shape[0] };
    const weight = await placeRows(whole, await tensors.matrix(tensor), storage, normalized);
    options.onProgress?.(++done, total);
    return weight;
  };
  const placeLayer = async (index: number): Promise<DecoderLayer> => {
    const weights = new Map<LayerSlot, Weight>();
    const biases = new Map<LayerSlot, Weight>();
    for (const tensor of layerTensors(spec, family, index)) {
      const made = tensor.kind === "bias" ? biases : weights;
      const parts = partsOf(spec, tensor);
      if (tensor.shape.length === 1) {
        const values = await tensors.vector(tensor);
        for (const { slot, name, start, end } of parts) made.set(slot, placeVector(name, values.subarray(start, end)));
      } else {
        const rows = await tensors.matrix(tensor);
        for (const part of parts) made.set(part.slot, await placeRows(part, rows, options.layers ?? options.storage));
      }
      options.onProgress?.(++done, total);
    }
    return makeLayer(weights, biases);
  };
  const outer = outerTensors(spec, family);
  const embedding = await placeTable(outer.embedding);
  const layers: DecoderLayer[] = [];
  for (let index = 0; index < spec.layers; index++) layers.push(await placeLayer(index));
  const finalNorm = placeVector(outer.finalNorm.name, await tensors.vector(outer.finalNorm));
  options.onProgress?.(++done, total);
  const head = outer.head ? await placeTable(outer.head, spec.normalizedHead) : embedding;
  const output = { weight: head, bias: null, lowRank: null };
  return { spec, backend, embedding, layers, finalNorm, head: output, prefix: null };
}
