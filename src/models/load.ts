import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { type Checkpoint, saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { turnRotaryRows } from "../formats/rotary-rows.ts";
import { elementCount, type TensorDtype, type TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder, DecoderLayer, Linear } from "./decoder.ts";
import { familyNamed, familyOf } from "./registry.ts";
import {
  type DecoderSpec,
  type Family,
  isLinearSlot,
  type LayerSlot,
  type LayerTensor,
  LINEAR_SLOTS,
  type LinearSlot,
  layerShape,
  layerTensors,
  type NormSlot,
  tensorShapes,
} from "./spec.ts";

const TORCH_DTYPES: Readonly<Record<TensorDtype, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

export interface PlaceOptions {
  /** Of the layers' matrices. Norms stay float32; embedding and head stay bfloat16 where the layers are int8 or nf4, as in QLoRA. */
  storage: WeightStorage;
  /** Whether the decoder's own weights can be trained (full fine-tuning, pretraining); an output layer with normalised rows never is. */
  trainable: boolean;
  /** How many ids the model's tokenizer has, where that is known; by default all rows of the embedding are taken for tokens. */
  tokenCount?: number;
  onProgress?: (done: number, total: number) => void;
}

/** The values of a tensor, row-major, when its turn comes. */
type ValuesOf = (name: string, shape: number[]) => Promise<Float32Array>;

/** Builds a decoder by asking for the values of one tensor after the other; frees what was placed when that fails. */
export async function buildDecoder(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  valuesOf: ValuesOf,
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
  valuesOf: ValuesOf,
  placed: Weight[],
): Promise<Decoder> {
  const total = tensorShapes(spec, family).length;
  let done = 0;
  const place = (name: string, shape: number[], values: Float32Array, storage: WeightStorage, frozen = false) => {
    const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape;
    const kept = shape.length === 1 ? "float32" : storage;
    const trainable = options.trainable && !frozen;
    const weight = backend.weight({ name, rows, columns, storage: kept, trainable }, values);
    placed.push(weight);
    return weight;
  };
  const whole = async (name: string, shape: number[], isNormalized = false): Promise<Weight> => {
    const values = await valuesOf(name, shape);
    // A copy with normalised rows is what the authors compute with once training is over, but not what could be trained.
    if (isNormalized) normalizeRows(values, shape[1]);
    const storage = options.storage === "float32" ? "float32" : "bfloat16";
    const weight = place(name, shape, values, storage, isNormalized);
    options.onProgress?.(++done, total);
    return weight;
  };
  const placeLayer = async (index: number): Promise<DecoderLayer> => {
    const weights = new Map<LayerSlot, Weight>();
    const biases = new Map<LayerSlot, Weight>();
    for (const tensor of layerTensors(spec, family, index)) {
      const values = await valuesOf(tensor.name, tensor.shape);
      for (const { slot, name, shape, start, end } of partsOf(spec, tensor)) {
        const weight = place(name, shape, values.subarray(start, end), options.storage);
        (tensor.kind === "bias" ? biases : weights).set(slot, weight);
      }
      options.onProgress?.(++done, total);
    }
    const norm = (slot: NormSlot) => weights.get(slot) as Weight;
    const linear = (slot: LinearSlot): Linear => ({
      weight: weights.get(slot) as Weight,
      bias: biases.get(slot) ?? null,
      lowRank: null,
    });
    return {
      attentionNorm: norm("attentionNorm"),
      q: linear("q"),
      k: linear("k"),
      v: linear("v"),
      queryNorm: weights.get("queryNorm") ?? null,
      keyNorm: weights.get("keyNorm") ?? null,
      output: linear("output"),
      feedForwardNorm: norm("feedForwardNorm"),
      gate: linear("gate"),
      up: linear("up"),
      down: linear("down"),
    };
  };
  const { names } = family;
  const tableShape = [spec.vocabularySize, spec.width];
  const embedding = await whole(names.embedding, tableShape);
  const layers: DecoderLayer[] = [];
  for (let index = 0; index < spec.layers; index++) layers.push(await placeLayer(index));
  const finalNorm = await whole(names.finalNorm, [spec.width]);
  const head = spec.tiedHead ? embedding : await whole(names.head, tableShape, spec.normalizedHead);
  return { spec, backend, embedding, layers, finalNorm, head: { weight: head, bias: null, lowRank: null } };
}

/** The part of a tensor that belongs to each of its slots. */
function partsOf(spec: DecoderSpec, { name, kind, slots }: LayerTensor) {
  let start = 0;
  return slots.map((slot) => {
    const shape = kind === "bias" ? layerShape(spec, slot).slice(0, 1) : layerShape(spec, slot);
    const part = {
      slot,
      shape,
      start,
      end: start + elementCount(shape),
      name: slots.length > 1 ? `${name}:${slot}` : name,
    };
    start = part.end;
    return part;
  });
}

/** Divides every row by its length, in place; a row of zeros stays one. */
function normalizeRows(values: Float32Array, columns: number): void {
  for (let start = 0; start < values.length; start += columns) {
    let squares = 0;
    for (let i = start; i < start + columns; i++) squares += values[i] * values[i];
    // As torch.nn.functional.normalize bounds it.
    const length = Math.max(Math.sqrt(squares), 1e-12);
    for (let i = start; i < start + columns; i++) values[i] /= length;
  }
}

/** Loads a checkpoint's weights one by one; missing and unused tensors are all reported together, before any weight is read. */
export async function loadDecoder(backend: Backend, checkpoint: Checkpoint, options: PlaceOptions): Promise<Decoder> {
  const where = `${checkpoint.directory}`;
  const family = familyOf(checkpoint.config, where);
  const read = family.readConfig(checkpoint.config, where);
  // A model may have fewer rows than its tokenizer has ids: whoever joins the two reports that.
  const spec = { ...read, tokenCount: Math.min(options.tokenCount ?? read.tokenCount, read.vocabularySize) };
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

/**
 * A decoder with random weights: normal with deviation 0.02 (or another one), products that write to the residual stream divided by
 * √(2 · layers) (GPT-2), norms one. The same seed gives the same weights; each tensor has its own stream, so they do not depend on the order.
 */
export async function initDecoder(
  backend: Backend,
  spec: DecoderSpec,
  seed: number,
  options: PlaceOptions & { deviation?: number },
): Promise<Decoder> {
  const family = familyNamed(spec.family, "init");
  const residualNames = new Set<string>();
  const norms = new Set([family.names.finalNorm]);
  for (let index = 0; index < spec.layers; index++) {
    for (const { name, slots } of layerTensors(spec, family, index)) {
      if (slots.some((slot) => slot === "output" || slot === "down")) residualNames.add(name);
      if (slots.some((slot) => !isLinearSlot(slot))) norms.add(name);
    }
  }
  const { deviation = 0.02 } = options;
  return buildDecoder(backend, spec, family, options, async (name, shape) => {
    if (norms.has(name)) return new Float32Array(shape[0]).fill(1);
    const own = residualNames.has(name) ? deviation / Math.sqrt(2 * spec.layers) : deviation;
    return normalValues(mixSeed(seed, hashName(name)), elementCount(shape), own);
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
 * Saves a decoder as a Hugging Face folder; rows of queries and keys are put into the family's order and what it keeps as one matrix is
 * joined, so any loader reads it. Throws a UserError for weights in a storage that cannot be saved without loss, an Error for a model whose
 * adapter was neither merged nor detached.
 */
export async function saveDecoder(
  model: Decoder,
  directory: string,
  options: { dtype: TensorDtype; maxShardBytes?: number },
): Promise<void> {
  const { spec, backend } = model;
  const family = familyNamed(spec.family, directory);
  if (model.layers.some((layer) => LINEAR_SLOTS.some((slot) => layer[slot].lowRank !== null))) {
    throw new Error("A model with an adapter beside its weights was to be saved: merge or detach it first.");
  }
  const tensors: TensorToWrite[] = [];
  const put = (name: string, shape: readonly number[], parts: readonly { weight: Weight; heads: number }[]) => {
    const lossy = parts.find(({ weight: { storage } }) => storage !== "float32" && storage !== "bfloat16");
    if (lossy) {
      throw new UserError(
        `${directory}: "${name}" is kept as ${lossy.weight.storage} and cannot be saved without loss.`,
      );
    }
    const values = async () => {
      const read = parts.map(async ({ weight, heads }) => {
        const own = await backend.readWeight(weight);
        return heads > 0 ? turnRotaryRows(own, heads, spec.headWidth, family.rotaryLayout) : own;
      });
      return joinRows(await Promise.all(read));
    };
    tensors.push({ name, dtype: options.dtype, shape, values });
  };
  const { positions } = spec;
  const turns = positions.kind === "rotary" && positions.layout !== family.rotaryLayout;
  const headsOf = (slot: LayerSlot) => (turns ? ({ q: spec.heads, k: spec.keyValueHeads }[slot as string] ?? 0) : 0);
  put(family.names.embedding, [spec.vocabularySize, spec.width], [{ weight: model.embedding, heads: 0 }]);
  for (const [index, layer] of model.layers.entries()) {
    for (const { name, kind, shape, slots } of layerTensors(spec, family, index)) {
      const parts = slots.map((slot) => ({ weight: weightOf(layer, slot, kind), heads: headsOf(slot) }));
      put(name, shape, parts);
    }
  }
  put(family.names.finalNorm, [spec.width], [{ weight: model.finalNorm, heads: 0 }]);
  if (!spec.tiedHead) {
    put(family.names.head, [spec.vocabularySize, spec.width], [{ weight: model.head.weight, heads: 0 }]);
  }
  const saved = turns ? { ...spec, positions: { ...positions, layout: family.rotaryLayout } } : spec;
  const config = { ...family.writeConfig(saved), torch_dtype: TORCH_DTYPES[options.dtype] };
  await saveHuggingFaceFolder(directory, config, tensors, { maxShardBytes: options.maxShardBytes });
}

function weightOf(layer: DecoderLayer, slot: LayerSlot, kind: LayerTensor["kind"]): Weight {
  if (!isLinearSlot(slot)) return layer[slot] as Weight;
  return kind === "bias" ? (layer[slot].bias as Weight) : layer[slot].weight;
}

/** Matrices of as many columns one below the other. */
export function joinRows(parts: readonly ArrayLike<number>[]): ArrayLike<number> {
  if (parts.length === 1) return parts[0];
  const values = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    values.set(part, start);
    start += part.length;
  }
  return values;
}
