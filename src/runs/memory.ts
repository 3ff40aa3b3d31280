import { methodOf } from "../adapters/methods.ts";
import { availableMemoryBytes } from "../base/available-memory.ts";
import { UserError } from "../base/errors.ts";
import type { WeightStorage } from "../compute/backend.ts";
import { type BackendName, chosenBackend } from "../compute/open.ts";
import { WASM_BYTES } from "../compute/wasm/open.ts";
import { elementCount } from "../formats/tensor-source.ts";
import type { Decoder } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import type { PlaceOptions } from "../models/place.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { modelTensors, outerTensors } from "../models/tensors.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { PassRoom, PassSize } from "../train/passes.ts";

/** What a model and the work on it need, in bytes. */
export interface MemoryNeed {
  /** The model's weights as they are stored; of trained ones the copy that products read. */
  weights: number;
  /** Of each trained number its value in float32, its gradient and the two moments of AdamW. */
  training: number;
  /** The activations of one pass forward and back. */
  pass: number;
}

/** What is trained of a model. */
export interface TrainedPart {
  /** Which of the model's own weights, by name. */
  ofModel: PlaceOptions["trainable"];
  /** Numbers that an adapter adds. */
  added: number;
}

/** One pass forward and back. */
export interface TrainingPass {
  tokens: number;
  /** Tokens whose next token is a target. */
  outputs: number;
  recompute: boolean;
  /** Numbers of each token that the tuning method keeps, over all layers; default 0. */
  kept?: number;
}

const FLOAT = 4;
/** Bytes of a number in the layers' matrices; int8 and nf4 have a scale for each 64 numbers, w8a8 a scale and a sum for each 128. */
const STORAGE_BYTES: Record<WeightStorage, number> = {
  float32: 4,
  bfloat16: 2,
  int8: 1 + 2 / 64,
  nf4: 0.5 + 1 / 64,
  w8a8: 1 + 8 / 128,
};
/** Value, gradient, first and second moment in float32. */
const TRAINED_BYTES = 4 * FLOAT;
/** Of an estimate of a pass, the part that it certainly needs: shared beginnings and short rows make a pass smaller. */
const CERTAIN_SHARE = 0.5;
/** From this share of the available memory on, the estimate is worth a line. */
const LARGE_SHARE = 0.5;

/**
 * Bytes of a model's weights and of their training, without padding and second packed copies: a lower bound. The reference backend keeps
 * every number in float32, whatever the storage; the WebAssembly backend all but int8, nf4 and w8a8. `layers`: see PlaceOptions.
 */
export function weightNeed(
  spec: DecoderSpec,
  storage: WeightStorage,
  { ofModel = false, added = 0, layers = storage }: Partial<TrainedPart> & { layers?: WeightStorage } = {},
  backend = chosenBackend(),
): MemoryNeed {
  const family = familyNamed(spec.family, "model");
  const outer = outerTensors(spec, family);
  const tables = new Set([outer.embedding.name, outer.head?.name]);
  const bytesOf = (isVector: boolean, isTable: boolean) => {
    if (backend === "reference" || isVector) return FLOAT;
    if (backend === "wasm" && (isTable || layers === "bfloat16")) return FLOAT;
    return isTable && storage !== "float32" ? STORAGE_BYTES.bfloat16 : STORAGE_BYTES[layers];
  };
  const isTrained = (name: string) => (typeof ofModel === "function" ? ofModel(name) : ofModel);
  const need: MemoryNeed = { weights: 0, training: added * TRAINED_BYTES, pass: 0 };
  for (const { name, shape } of modelTensors(spec, family)) {
    const count = elementCount(shape);
    const isTraining = isTrained(name);
    const isVector = shape.length === 1;
    if (isTraining) need.training += count * TRAINED_BYTES;
    // A trained number in float32 needs no copy for products.
    if (!isTraining || (!isVector && layers !== "float32")) need.weights += count * bytesOf(isVector, tables.has(name));
  }
  return need;
}

/**
 * Bytes of the activations of one pass, all in float32. Of each layer the backward pass reads what went into its norms, products, attention
 * and gate: 6 C + 2 H·D + 2 G·D + 3 F numbers a token, and those of the tuning method; with recomputing only its C inputs are kept, and one layer is whole at a time. The
 * logits and their gradient are V numbers each for an output.
 */
export function passBytes(spec: DecoderSpec, { tokens, outputs, recompute, kept: added = 0 }: TrainingPass): number {
  const { width, layers, heads, keyValueHeads, headWidth, feedForward, vocabularySize } = spec;
  const own = 6 * width + 2 * heads * headWidth + 2 * keyValueHeads * headWidth + 3 * feedForward;
  const layer = own + added / layers;
  const kept = recompute ? layers * width + layer : layers * layer;
  return FLOAT * (tokens * kept + 2 * outputs * vocabularySize);
}

/** Of the memory that is left when the weights are loaded, what a pass may have: the estimate is coarse, and other programs want some. */
const PASS_SHARE = 0.5;

/**
 * The memory that the passes of a training may take: half of what is left, or `recorded` bytes, for which a training that is resumed was cut,
 * if there are as many now.
 */
export function passRoom(
  { recipe, model }: { recipe: Recipe; model: Decoder },
  recorded?: number,
  available = availableMemoryBytes(),
): { room: PassRoom; notice: string | null } {
  const { recompute, batchExamples, onePass } = recipe.train;
  const kept = methodOf(recipe.adapter).keptNumbers?.(recipe.adapter, model.spec);
  const left = chosenBackend() === "wasm" ? Math.min(available, WASM_BYTES - model.backend.memory().bytes) : available;
  const isKept = recorded !== undefined && recorded <= left;
  const bytes = isKept ? recorded : Math.floor(PASS_SHARE * Math.max(0, left));
  if (!onePass) return { room: { bytes: 0, bytesOf: () => 1, leastExamples: batchExamples }, notice: null };
  const bytesOf = (size: PassSize) => passBytes(model.spec, { ...size, recompute, kept });
  const notice =
    isKept || recorded === undefined
      ? null
      : `Steps were cut for ${gigabytes(recorded)} of memory and there are ${gigabytes(left)} now: if they are cut into smaller passes, the last digits of the weights differ from those of one undisturbed training.`;
  return { room: { bytes, bytesOf, leastExamples: batchExamples }, notice };
}

/** Why work cannot be done here, as a problem without a full stop; null when it may fit. */
export function memoryProblem(
  need: MemoryNeed,
  available = availableMemoryBytes(),
  backend: BackendName = chosenBackend(),
): string | null {
  const certain = need.weights + need.training + CERTAIN_SHARE * need.pass;
  if (backend === "wasm" && certain > WASM_BYTES) {
    return `needs about ${described(need)}, but the WebAssembly backend has at most ${gigabytes(WASM_BYTES)}`;
  }
  if (certain <= available) return null;
  return `needs about ${described(need)}, but ${gigabytes(available)} of memory are available`;
}

/** A line on work that needs much of the memory; null for other work. */
export function memoryNotice(
  need: MemoryNeed,
  available = availableMemoryBytes(),
  backend: BackendName = chosenBackend(),
): string | null {
  const all = need.weights + need.training + need.pass;
  if (backend === "wasm" && all > LARGE_SHARE * WASM_BYTES) {
    return `This needs about ${described(need)}; the WebAssembly backend has at most ${gigabytes(WASM_BYTES)}.`;
  }
  if (all <= LARGE_SHARE * available) return null;
  return `This needs about ${described(need)}; ${gigabytes(available)} of memory are available.`;
}

/** Throws a UserError when the weights of a model cannot fit; calls `onNotice` when they need much of the memory. */
export function expectRoom(
  where: string,
  need: MemoryNeed,
  onNotice: (line: string) => void = () => {},
  available = availableMemoryBytes(),
): void {
  const problem = memoryProblem(need, available);
  if (problem !== null) throw new UserError(`${where}: ${problem}.`, { hint: hintFor(need) });
  const notice = memoryNotice(need, available);
  if (notice !== null) onNotice(notice);
}

/** What makes the largest part smaller. */
function hintFor({ weights, training, pass }: MemoryNeed): string {
  if (pass >= Math.max(weights, training)) {
    return "Smaller passes need less: train.batchExamples (with more train.accumulation), prompt.maxPromptTokens, train.recompute.";
  }
  if (training >= weights) return "An adapter of a lower rank or with fewer targets, or a smaller model, needs less.";
  return "A smaller storage needs less: model.storage or --storage bfloat16, int8 or nf4.";
}

function described({ weights, training, pass }: MemoryNeed): string {
  const parts = [
    `weights ${gigabytes(weights)}`,
    ...(training > 0 ? [`training ${gigabytes(training)}`] : []),
    ...(pass > 0 ? [`a pass ${gigabytes(pass)}`] : []),
  ];
  return `${gigabytes(weights + training + pass)} of memory (${parts.join(", ")})`;
}

function gigabytes(bytes: number): string {
  if (bytes >= 1e12) return `${(bytes / 1e12).toFixed(1)} TB`;
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.ceil(bytes / 1e6)} MB`;
}
