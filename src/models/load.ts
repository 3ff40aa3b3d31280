import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { type Checkpoint, saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import type { TensorDtype, TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder, DecoderLayer, Linear } from "./decoder.ts";
import { familyNamed, familyOf } from "./registry.ts";
import { type DecoderSpec, type Family, LAYER_SLOTS, type LayerSlot, layerShape } from "./spec.ts";

const TORCH_DTYPES: Readonly<Record<TensorDtype, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

export interface PlaceOptions {
  /** Of the layers' matrices. Norms stay float32; embedding and head stay bfloat16 where the layers are int8 or nf4, as in QLoRA. */
  storage: WeightStorage;
  /** Whether the decoder's own weights can be trained (full fine-tuning, pretraining). */
  trainable: boolean;
  onProgress?: (done: number, total: number) => void;
}

/** Builds a decoder by asking for the values of one weight after the other; frees what was placed when that fails. */
export async function buildDecoder(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  valuesOf: (name: string, shape: number[]) => Promise<ArrayLike<number>>,
): Promise<Decoder> {
  const placed: Weight[] = [];
  try {
    return await placeDecoder(backend, spec, family, options, valuesOf, placed);
  } catch (error) {
    for (const weight of placed) backend.freeWeight(weight);
    throw error;
  }
}

async function placeDecoder(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  valuesOf: (name: string, shape: number[]) => Promise<ArrayLike<number>>,
  placed: Weight[],
): Promise<Decoder> {
  const total = spec.layers * LAYER_SLOTS.length + (spec.tiedHead ? 2 : 3);
  let done = 0;
  const place = async (name: string, shape: number[], storage: WeightStorage): Promise<Weight> => {
    const values = await valuesOf(name, shape);
    const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape;
    const kept = shape.length === 1 ? "float32" : storage;
    const weight = backend.weight({ name, rows, columns, storage: kept, trainable: options.trainable }, values);
    placed.push(weight);
    options.onProgress?.(++done, total);
    return weight;
  };
  const tableStorage = options.storage === "float32" ? "float32" : "bfloat16";
  const tableShape = [spec.vocabularySize, spec.width];
  const embedding = await place(family.names.embedding, tableShape, tableStorage);
  const layers: DecoderLayer[] = [];
  for (let index = 0; index < spec.layers; index++) {
    const slot = (name: LayerSlot) => place(family.names.layer(index, name), layerShape(spec, name), options.storage);
    const linear = async (name: LayerSlot): Promise<Linear> => ({ weight: await slot(name), lowRank: null });
    layers.push({
      attentionNorm: await slot("attentionNorm"),
      q: await linear("q"),
      k: await linear("k"),
      v: await linear("v"),
      output: await linear("output"),
      feedForwardNorm: await slot("feedForwardNorm"),
      gate: await linear("gate"),
      up: await linear("up"),
      down: await linear("down"),
    });
  }
  const finalNorm = await place(family.names.finalNorm, [spec.width], "float32");
  const head = spec.tiedHead ? embedding : await place(family.names.head, tableShape, tableStorage);
  return { spec, backend, embedding, layers, finalNorm, head: { weight: head, lowRank: null } };
}

/** Loads a checkpoint's weights one by one; missing and unused tensors are all reported together, before any weight is read. */
export async function loadDecoder(backend: Backend, checkpoint: Checkpoint, options: PlaceOptions): Promise<Decoder> {
  const where = `${checkpoint.directory}`;
  const family = familyOf(checkpoint.config, where);
  const spec = family.readConfig(checkpoint.config, where);
  checkTensors(checkpoint, family, spec);
  return buildDecoder(backend, spec, family, options, (name) => checkpoint.source.read(name));
}

function checkTensors(checkpoint: Checkpoint, family: Family, spec: DecoderSpec): void {
  const wanted = new Map<string, number[]>(tensorShapes(spec, family));
  const { tensors } = checkpoint.source;
  const problems: string[] = [];
  for (const [name, shape] of wanted) {
    const info = tensors.get(name);
    if (!info) problems.push(`tensor "${name}" is missing`);
    else if (info.shape.join() !== shape.join()) problems.push(`"${name}" is [${info.shape}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) {
    const tiedCopy = spec.tiedHead && name === family.names.head;
    if (!wanted.has(name) && !tiedCopy && !family.ignored.some((pattern) => pattern.test(name))) {
      problems.push(`tensor ${showValue(name, 200)} is not part of a ${family.modelType} model`);
    }
  }
  if (problems.length === 0) return;
  throw new UserErrors(`${checkpoint.directory}: the tensors do not fit config.json:`, problems, {
    hint: "Is config.json from this checkpoint?",
  });
}

/** Names and shapes of all tensors, in the order they are saved. */
export function tensorShapes(spec: DecoderSpec, family: Family): [string, number[]][] {
  const shapes: [string, number[]][] = [[family.names.embedding, [spec.vocabularySize, spec.width]]];
  for (let index = 0; index < spec.layers; index++) {
    for (const slot of LAYER_SLOTS) shapes.push([family.names.layer(index, slot), layerShape(spec, slot)]);
  }
  shapes.push([family.names.finalNorm, [spec.width]]);
  if (!spec.tiedHead) shapes.push([family.names.head, [spec.vocabularySize, spec.width]]);
  return shapes;
}

/**
 * A decoder with random weights: normal with deviation 0.02, products that write to the residual stream divided by √(2 · layers) (GPT-2),
 * norms one. The same seed gives the same weights; each weight has its own stream, so they do not depend on the order.
 */
export async function initDecoder(
  backend: Backend,
  spec: DecoderSpec,
  seed: number,
  options: PlaceOptions,
): Promise<Decoder> {
  const family = familyNamed(spec.family, "init");
  const residualNames = new Set<string>();
  for (let index = 0; index < spec.layers; index++) {
    residualNames.add(family.names.layer(index, "output")).add(family.names.layer(index, "down"));
  }
  return buildDecoder(backend, spec, family, options, async (name, shape) => {
    if (shape.length === 1) return new Float32Array(shape[0]).fill(1);
    const deviation = residualNames.has(name) ? 0.02 / Math.sqrt(2 * spec.layers) : 0.02;
    return normalValues(mixSeed(seed, hashName(name)), shape[0] * shape[1], deviation);
  });
}

/** `count` normal numbers with the given deviation. */
export function normalValues(seed: number, count: number, deviation: number): Float32Array {
  const random = createRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal() * deviation);
}

/** FNV-1a. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/**
 * Saves a decoder as a Hugging Face folder; rotary pairs are put into Hugging Face's order, so any loader reads it. Throws a UserError for
 * weights in a storage that cannot be saved without loss, an Error for a model whose adapter was neither merged nor detached.
 */
export async function saveDecoder(
  model: Decoder,
  directory: string,
  options: { dtype: TensorDtype; maxShardBytes?: number },
): Promise<void> {
  const { spec, backend } = model;
  const family = familyNamed(spec.family, directory);
  const parts = model.layers.flatMap((layer) => LAYER_SLOTS.map((slot) => layer[slot]));
  if (parts.some((part) => "lowRank" in part && part.lowRank !== null)) {
    throw new Error("A model with an adapter beside its weights was to be saved: merge or detach it first.");
  }
  const tensors: TensorToWrite[] = [];
  const put = (name: string, shape: number[], weight: Weight, heads = 0) => {
    if (weight.storage !== "float32" && weight.storage !== "bfloat16") {
      throw new UserError(`${directory}: "${name}" is kept as ${weight.storage} and cannot be saved without loss.`);
    }
    tensors.push({
      name,
      dtype: options.dtype,
      shape,
      values: async () => {
        const values = await backend.readWeight(weight);
        return heads > 0 ? halvesFromInterleaved(values, heads, spec) : values;
      },
    });
  };
  const interleaved = spec.positions.layout === "interleaved";
  put(family.names.embedding, [spec.vocabularySize, spec.width], model.embedding);
  for (const [index, layer] of model.layers.entries()) {
    for (const slot of LAYER_SLOTS) {
      const part = layer[slot];
      const turned = interleaved ? { q: spec.heads, k: spec.keyValueHeads }[slot as string] : 0;
      put(family.names.layer(index, slot), layerShape(spec, slot), "weight" in part ? part.weight : part, turned);
    }
  }
  put(family.names.finalNorm, [spec.width], model.finalNorm);
  if (!spec.tiedHead) put(family.names.head, [spec.vocabularySize, spec.width], model.head.weight);
  const saved: DecoderSpec = { ...spec, positions: { ...spec.positions, layout: "halves" } };
  const config = { ...family.writeConfig(saved), torch_dtype: TORCH_DTYPES[options.dtype] };
  await saveHuggingFaceFolder(directory, config, tensors, { maxShardBytes: options.maxShardBytes });
}

/** Moves row 2i + j of each head's rotated part to row i + j · width/2. */
function halvesFromInterleaved(values: ArrayLike<number>, heads: number, spec: DecoderSpec): Float32Array {
  const { headWidth, width } = spec;
  const half = spec.positions.rotatedWidth / 2;
  const out = Float32Array.from(values);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < half; i++) {
      for (let j = 0; j < 2; j++) {
        const from = (head * headWidth + 2 * i + j) * width;
        const to = (head * headWidth + i + j * half) * width;
        for (let c = 0; c < width; c++) out[to + c] = values[from + c];
      }
    }
  }
  return out;
}
