import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Backend, Weight, WeightStorage } from "../compute/backend.ts";
import { type Checkpoint, saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { turnRotaryRows } from "../formats/rotary-rows.ts";
import { createRunBuffers, rowsOfValues } from "../formats/row-runs.ts";
import {
  elementCount,
  type TensorDtype,
  type TensorRows,
  type TensorSource,
  type TensorToWrite,
} from "../formats/tensor-source.ts";
import type { Decoder, DecoderLayer, Linear } from "./decoder.ts";
import { familyNamed, familyOf } from "./families/registry.ts";
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

/** Where the numbers of tensors come from, of each when its turn comes. */
interface Tensors {
  /** Of a norm or a bias. */
  values(name: string, shape: number[]): Promise<Float32Array>;
  /** Of a matrix. */
  rows(name: string, shape: number[]): Promise<TensorRows>;
}

/**
 * Builds a decoder by asking for the values of one tensor after the other, for matrices from `rows` where that is given; frees what was placed
 * when that fails.
 */
export async function buildDecoder(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  values: Tensors["values"],
  rows: Tensors["rows"] = async (name, shape) => rowsOfValues(await values(name, shape), shape[1]),
): Promise<Decoder> {
  return placeTensors(backend, spec, family, options, { values, rows });
}

async function placeTensors(
  backend: Backend,
  spec: DecoderSpec,
  family: Family,
  options: PlaceOptions,
  tensors: Tensors,
): Promise<Decoder> {
  const placed: Weight[] = [];
  try {
    return await placeDecoder(backend, spec, family, options, tensors, placed);
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
  tensors: Tensors,
  placed: Weight[],
): Promise<Decoder> {
  const total = tensorShapes(spec, family).length;
  let done = 0;
  const buffers = createRunBuffers();
  const keep = (weight: Weight): Weight => {
    placed.push(weight);
    return weight;
  };
  const placeVector = (name: string, values: Float32Array): Weight => {
    const vector = { name, rows: 1, columns: values.length, storage: "float32", trainable: options.trainable } as const;
    return keep(backend.weight(vector, values));
  };
  /** Rows of a matrix as a weight of their own. */
  const placeRows = async (
    { name, shape: [rows, columns], start, end }: Part,
    { dtype, runs }: TensorRows,
    storage: WeightStorage,
    normalized = false,
  ): Promise<Weight> => {
    // A copy with normalised rows is what the authors compute with once training is over, but not what could be trained.
    const trainable = options.trainable && !normalized;
    const matrix = { type: dtype, chunks: runs(start, end, buffers), normalized };
    return keep(await backend.weightFromChunks({ name, rows, columns, storage, trainable }, matrix));
  };
  const placeTable = async (name: string, normalized = false): Promise<Weight> => {
    const shape = [spec.vocabularySize, spec.width];
    const storage = options.storage === "float32" ? "float32" : "bfloat16";
    const whole = { name, shape, start: 0, end: spec.vocabularySize };
    const weight = await placeRows(whole, await tensors.rows(name, shape), storage, normalized);
    options.onProgress?.(++done, total);
    return weight;
  };
  const placeLayer = async (index: number): Promise<DecoderLayer> => {
    const weights = new Map<LayerSlot, Weight>();
    const biases = new Map<LayerSlot, Weight>();
    for (const tensor of layerTensors(spec, family, index)) {
      const { name, shape, kind } = tensor;
      const made = kind === "bias" ? biases : weights;
      if (shape.length === 1) {
        const values = await tensors.values(name, shape);
        for (const part of partsOf(spec, tensor)) {
          made.set(part.slot, placeVector(part.name, values.subarray(part.start, part.end)));
        }
      } else {
        const rows = await tensors.rows(name, shape);
        for (const part of partsOf(spec, tensor)) made.set(part.slot, await placeRows(part, rows, options.storage));
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
  const embedding = await placeTable(names.embedding);
  const layers: DecoderLayer[] = [];
  for (let index = 0; index < spec.layers; index++) layers.push(await placeLayer(index));
  const finalNorm = placeVector(names.finalNorm, await tensors.values(names.finalNorm, [spec.width]));
  options.onProgress?.(++done, total);
  const head = spec.tiedHead ? embedding : await placeTable(names.head, spec.normalizedHead);
  return { spec, backend, embedding, layers, finalNorm, head: { weight: head, bias: null, lowRank: null } };
}

/** What of a tensor becomes one weight: rows of a matrix, elements of a vector. */
interface Part {
  name: string;
  shape: number[];
  start: number;
  end: number;
}

/** The part of a tensor that belongs to each of its slots. */
function partsOf(spec: DecoderSpec, { name, kind, slots }: LayerTensor): (Part & { slot: LayerSlot })[] {
  let start = 0;
  return slots.map((slot) => {
    const shape = kind === "bias" ? layerShape(spec, slot).slice(0, 1) : layerShape(spec, slot);
    const end = start + shape[0];
    const part = { slot, shape, start, end, name: slots.length > 1 ? `${name}:${slot}` : name };
    start = end;
    return part;
  });
}

/**
 * Loads a checkpoint's weights one by one, matrices in runs of rows; missing and unused tensors are all reported together, before any weight
 * is read.
 */
export async function loadDecoder(backend: Backend, checkpoint: Checkpoint, options: PlaceOptions): Promise<Decoder> {
  const where = `${checkpoint.directory}`;
  const family = familyOf(checkpoint.config, where);
  const read = family.readConfig(checkpoint.config, where);
  // A model may have fewer rows than its tokenizer has ids: whoever joins the two reports that.
  const spec = { ...read, tokenCount: Math.min(options.tokenCount ?? read.tokenCount, read.vocabularySize) };
  checkTensors(checkpoint, family, spec);
  return placeTensors(backend, spec, family, options, tensorsOf(checkpoint.source));
}

function tensorsOf(source: TensorSource): Tensors {
  return {
    values: (name) => source.read(name),
    rows: async (name, shape) => source.rows?.(name) ?? rowsOfValues(await source.read(name), shape[1]),
  };
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
