import { UserError } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Weight } from "../compute/backend.ts";
import { mergeLowRank } from "../formats/merge-lora.ts";
import { type LoraScaling, loraScale } from "../formats/peft-adapter.ts";
import type { Decoder } from "../models/decoder.ts";
import { hashName } from "../models/init.ts";
import { adaptedRowNorms, freeDivisors } from "../models/magnitude.ts";
import { adapterOf, type Module, modulesOf, type Targets, targetModules } from "./lora-modules.ts";
import type { WeightGroup } from "./method.ts";

/** Low-rank adaptation (Hu et al. 2021): y += scale · dropout(x)·aᵀ·bᵀ for chosen weights. */
export interface LoraSettings {
  rank: number; // R
  alpha: number;
  dropout: number;
  /** The scale is alpha/rank (lora, by default) or alpha/√rank (rslora, Kalajdzievski 2023). */
  scaling?: LoraScaling;
  targets: Targets;
}

/** The weights of a module's adapter: a[R,I] for all its parts, b[O,R] below one another, and with magnitudes one number for each row. */
interface Values {
  a: Float32Array;
  /** Zeros for null. */
  b: Float32Array | null;
  magnitude: Float32Array | null;
}

/**
 * Adds a fresh adapter to the target modules: a uniform in ±1/√I (as PEFT), b zero, so the model starts unchanged. The same seed gives the
 * same weights. Throws a UserErrors that lists all unknown targets.
 */
export function attachLora(model: Decoder, settings: LoraSettings, seed: number): void {
  const targets = targetModules(model, settings.targets);
  expectNone(model);
  for (const module of targets) {
    const bound = 1 / Math.sqrt(module.columns);
    const random = createRandom(mixSeed(seed, hashName(module.name)));
    const a = Float32Array.from({ length: settings.rank * module.columns }, () => (2 * random.uniform() - 1) * bound);
    attachValues(model, module, { ...settings, trainable: true }, { a, b: null, magnitude: null });
  }
}

/** Gives every part of an adapter a trained magnitude (DoRA): the lengths that the rows of the adapted weights have now. */
export async function attachMagnitudes(model: Decoder): Promise<void> {
  const { backend } = model;
  for (const module of modulesOf(model)) {
    for (const { slot, linear } of module.parts) {
      if (!linear.lowRank) continue;
      const norms = adaptedRowNorms(backend, linear.weight, linear.lowRank);
      const values = await backend.read(norms);
      backend.free(norms);
      const weight = placeMagnitude(model, module, slot, values, true);
      linear.lowRank.magnitude = { weight, norms: null };
    }
  }
}

export function expectNone(model: Decoder): void {
  const taken = modulesOf(model).find((module) => adapterOf(module));
  if (taken) throw new Error(`${taken.name} already has an adapter.`);
}

/** Adds an adapter's weights to a module: all its parts share a, each has its rows of b and of the magnitude. */
export function attachValues(
  model: Decoder,
  module: Module,
  settings: Omit<LoraSettings, "targets"> & { trainable: boolean },
  { a, b, magnitude }: Values,
): void {
  const { backend } = model;
  const { rank, dropout, trainable } = settings;
  // The storage follows the backend's precision: in float32 an adapter is float32 throughout, whatever the base's storage.
  const storage = backend.precision === "bfloat16" ? "bfloat16" : "float32";
  const placed: Weight[] = [];
  const put = (part: string, rows: number, columns: number, values: Float32Array | undefined) => {
    const weight = backend.weight({ name: `${module.name}.${part}`, rows, columns, storage, trainable }, values);
    placed.push(weight);
    return weight;
  };
  try {
    const placedA = put("lora_A", rank, module.columns, a);
    let start = 0;
    const made = module.parts.map(({ slot, linear }) => {
      const end = start + linear.weight.rows;
      const name = module.parts.length > 1 ? `lora_B:${slot}` : "lora_B";
      const placedB = put(name, linear.weight.rows, rank, b?.subarray(start * rank, end * rank));
      const own = magnitude && placeMagnitude(model, module, slot, magnitude.subarray(start, end), trainable);
      if (own) placed.push(own);
      start = end;
      return { b: placedB, magnitude: own && { weight: own, norms: null } };
    });
    const scale = loraScale(settings);
    for (const [i, { linear }] of module.parts.entries()) linear.lowRank = { a: placedA, scale, dropout, ...made[i] };
  } catch (error) {
    for (const weight of placed) backend.freeWeight(weight);
    throw error;
  }
}

function placeMagnitude(
  { backend }: Decoder,
  module: Module,
  slot: string,
  values: ArrayLike<number>,
  trainable: boolean,
): Weight {
  const part = module.parts.length > 1 ? `lora_magnitude_vector:${slot}` : "lora_magnitude_vector";
  const vector = { name: `${module.name}.${part}`, rows: 1, columns: values.length, storage: "float32" } as const;
  return backend.weight({ ...vector, trainable }, values);
}

/** The adapter's weights in a fixed order: of each target a, b, then the magnitudes. */
export function loraWeights(model: Decoder): Weight[] {
  return modulesOf(model).flatMap((module) => weightsOfModule(module));
}

function weightsOfModule(module: Module): Weight[] {
  const adapter = adapterOf(module);
  return adapter ? [adapter.a, ...adapter.b, ...adapter.magnitudes.map(({ weight }) => weight)] : [];
}

/**
 * The adapter's weights by their learning rate: b, and the magnitudes as in PEFT, learn `ratio` times as fast as a (LoRA+, Hayou et al. 2024).
 * With a ratio of 1 one group in the order of {@link loraWeights}.
 */
export function loraGroups(model: Decoder, ratio: number): WeightGroup[] {
  const all = loraWeights(model);
  if (ratio === 1) return [{ weights: all, learningRateFactor: 1 }];
  const slow = new Set(modulesOf(model).map((module) => adapterOf(module)?.a));
  return [
    { weights: all.filter((weight) => slow.has(weight)), learningRateFactor: 1 },
    { weights: all.filter((weight) => !slow.has(weight)), learningRateFactor: ratio },
  ];
}

/** Removes and frees the adapter: the base model is as before. */
export function detachLora(model: Decoder): void {
  for (const module of modulesOf(model)) freeAdapter(model, module);
}

function freeAdapter({ backend }: Decoder, module: Module): void {
  for (const magnitude of adapterOf(module)?.magnitudes ?? []) freeDivisors(backend, magnitude);
  for (const weight of weightsOfModule(module)) backend.freeWeight(weight);
  for (const { linear } of module.parts) linear.lowRank = null;
}

/**
 * Replaces each target weight by the one that the adapter makes of it (in float64, then rounded to the weight's storage) and removes the
 * adapter. Throws a UserError, with nothing changed, for a target in int8 or nf4: rounding the sum to 8 or 4 bits would lose the adapter.
 */
export async function mergeLora(model: Decoder): Promise<void> {
  const { backend } = model;
  const modules = modulesOf(model).filter((module) => adapterOf(module));
  for (const { name, parts } of modules) {
    const { storage } = parts[0].linear.weight;
    if (storage !== "float32" && storage !== "bfloat16") {
      throw new UserError(`"${name}" is kept as ${storage}: an adapter cannot be merged into it without loss.`, {
        hint: "Load the model with storage float32 or bfloat16 to merge.",
      });
    }
  }
  for (const module of modules) {
    for (const { linear } of module.parts) {
      if (!linear.lowRank) continue;
      const { rows: O, columns: I } = linear.weight;
      const { a, b, scale, magnitude } = linear.lowRank;
      const [w, valuesA, valuesB] = await Promise.all(
        [linear.weight, a, b].map((weight) => backend.readWeight(weight)),
      );
      const lengths = magnitude && (await backend.readWeight(magnitude.weight));
      mergeLowRank(w, { a: valuesA, b: valuesB, scale, magnitude: lengths }, [O, I, a.rows]);
      backend.writeWeight(linear.weight, w);
    }
    freeAdapter(model, module);
  }
}
