import { nearestName, showValue, UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Weight } from "../compute/backend.ts";
import { addLowRank } from "../formats/merge-lora.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorInfo, TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder, Linear } from "../models/decoder.ts";
import { hashName } from "../models/load.ts";
import { familyNamed } from "../models/registry.ts";
import { LAYER_SLOTS } from "../models/spec.ts";

/** Low-rank adaptation (Hu et al. 2021): y += alpha/rank · dropout(x)·aᵀ·bᵀ beside chosen weights. */
export interface LoraSettings {
  rank: number; // R
  alpha: number;
  dropout: number;
  /** Names of modules as the family's checkpoints call them ("q_proj"), or "all" for every product inside the layers. */
  targets: readonly string[] | "all";
}

interface NamedLinear {
  /** Full module name, for example "model.layers.0.self_attn.q_proj". */
  module: string;
  linear: Linear;
}

/** Every product inside the layers with its module name. */
function linearsOf(model: Decoder): NamedLinear[] {
  const { names } = familyNamed(model.spec.family, "LoRA");
  return model.layers.flatMap((layer, index) =>
    LAYER_SLOTS.flatMap((slot) => {
      const part = layer[slot];
      return "weight" in part ? [{ module: names.layer(index, slot).replace(/\.weight$/, ""), linear: part }] : [];
    }),
  );
}

const shortName = (module: string) => module.slice(module.lastIndexOf(".") + 1);

function targetsOf(model: Decoder, targets: LoraSettings["targets"]): NamedLinear[] {
  const linears = linearsOf(model);
  if (targets === "all") return linears;
  const known = new Set(linears.map(({ module }) => shortName(module)));
  const problems = targets
    .filter((target) => !known.has(target))
    .map((target) => {
      const nearest = nearestName(target, known);
      const advice = nearest ? `, did you mean "${nearest}"?` : "";
      return `"${target}" is not a module of a ${model.spec.family} model${advice}`;
    });
  if (targets.length === 0) problems.push("there is none");
  if (problems.length > 0) {
    throw new UserErrors("adapter.targets:", problems, { hint: `Modules: ${[...known].join(", ")}; or "all".` });
  }
  return linears.filter(({ module }) => targets.includes(shortName(module)));
}

/**
 * Puts a fresh adapter beside the target weights: a uniform in ±1/√I (as PEFT), b zero, so the model starts unchanged. The same seed gives
 * the same weights. Throws a UserErrors that lists all unknown targets.
 */
export function attachLora(model: Decoder, settings: LoraSettings, seed: number): void {
  const targets = targetsOf(model, settings.targets);
  expectNone(model);
  for (const { module, linear } of targets) {
    const bound = 1 / Math.sqrt(linear.weight.columns);
    const random = createRandom(mixSeed(seed, hashName(module)));
    const values = Float32Array.from({ length: settings.rank * linear.weight.columns }, () => {
      return (2 * random.uniform() - 1) * bound;
    });
    attachPair(model, { module, linear }, { ...settings, trainable: true }, values, undefined);
  }
}

function expectNone(model: Decoder): void {
  const taken = linearsOf(model).find(({ linear }) => linear.lowRank);
  if (taken) throw new Error(`${taken.module} already has an adapter.`);
}

function attachPair(
  model: Decoder,
  { module, linear }: NamedLinear,
  settings: { rank: number; alpha: number; dropout: number; trainable: boolean },
  a: ArrayLike<number>,
  b: ArrayLike<number> | undefined,
): void {
  const { backend } = model;
  const { rank, alpha, dropout, trainable } = settings;
  // As the backend computes: in float32 an adapter is float32 throughout, whatever the base is kept in.
  const storage = backend.precision === "bfloat16" ? "bfloat16" : "float32";
  const { rows, columns } = linear.weight;
  const put = (part: string, shape: { rows: number; columns: number }, values: ArrayLike<number> | undefined) =>
    backend.weight({ name: `${module}.${part}`, ...shape, storage, trainable }, values);
  const placedA = put("lora_A", { rows: rank, columns }, a);
  try {
    const placedB = put("lora_B", { rows, columns: rank }, b);
    linear.lowRank = { a: placedA, b: placedB, scale: alpha / rank, dropout };
  } catch (error) {
    backend.freeWeight(placedA);
    throw error;
  }
}

/** The adapter's weights in a fixed order: a, b of each target. */
export function loraWeights(model: Decoder): Weight[] {
  return linearsOf(model).flatMap(({ linear }) => (linear.lowRank ? [linear.lowRank.a, linear.lowRank.b] : []));
}

/** Takes the adapter off and frees it: the base model is as before. */
export function detachLora(model: Decoder): void {
  for (const { linear } of linearsOf(model)) freePair(model, linear);
}

function freePair(model: Decoder, linear: Linear): void {
  if (!linear.lowRank) return;
  model.backend.freeWeight(linear.lowRank.a);
  model.backend.freeWeight(linear.lowRank.b);
  linear.lowRank = null;
}

/**
 * Adds scale · b·a to each target weight (in float64, then rounded to the weight's storage) and takes the adapter off. Throws a UserError,
 * with nothing changed, for a target in int8 or nf4: rounding the sum to so few digits would lose the adapter.
 */
export async function mergeLora(model: Decoder): Promise<void> {
  const { backend } = model;
  for (const { module, linear } of linearsOf(model)) {
    const { storage } = linear.weight;
    if (linear.lowRank && storage !== "float32" && storage !== "bfloat16") {
      throw new UserError(`"${module}" is kept as ${storage}: an adapter cannot be merged into it without loss.`, {
        hint: "Load the model with storage float32 or bfloat16 to merge.",
      });
    }
  }
  for (const { linear } of linearsOf(model)) {
    if (!linear.lowRank) continue;
    const { rows: O, columns: I } = linear.weight;
    const { scale } = linear.lowRank;
    const R = linear.lowRank.a.rows;
    const [w, a, b] = await Promise.all([
      backend.readWeight(linear.weight),
      backend.readWeight(linear.lowRank.a),
      backend.readWeight(linear.lowRank.b),
    ]);
    addLowRank(w, a, b, scale, [O, I, R]);
    backend.writeWeight(linear.weight, w);
    freePair(model, linear);
  }
}

/** PEFT's name of an adapter's weight. */
function tensorName(module: string, part: "lora_A" | "lora_B"): string {
  return `base_model.model.${module}.${part}.weight`;
}

/** Saves the adapter as a PEFT folder. */
export async function saveLora(
  model: Decoder,
  settings: LoraSettings,
  directory: string,
  baseModel: string | null,
): Promise<void> {
  const tensors: TensorToWrite[] = [];
  const targets = new Set<string>();
  const linears = linearsOf(model);
  for (const { module, linear } of linears) {
    if (!linear.lowRank) continue;
    // PEFT takes a short name for this module in every layer.
    const name = shortName(module);
    const everywhere = linears.every((other) => shortName(other.module) !== name || other.linear.lowRank !== null);
    targets.add(everywhere ? name : module);
    for (const [part, weight] of [["lora_A", linear.lowRank.a] as const, ["lora_B", linear.lowRank.b] as const]) {
      tensors.push({
        name: tensorName(module, part),
        dtype: "F32",
        shape: [weight.rows, weight.columns],
        values: () => model.backend.readWeight(weight),
      });
    }
  }
  const { rank, alpha, dropout } = settings;
  await savePeftFolder(directory, { rank, alpha, dropout, targetModules: [...targets], baseModel }, tensors);
}

/**
 * Loads a PEFT folder's LoRA adapter onto the model, frozen unless it is to be trained on. Every target must be there with the right shape and
 * no tensor may be left over: throws a UserErrors with all problems, and leaves the model without the adapter.
 */
export async function loadLora(
  model: Decoder,
  directory: string,
  options: { trainable?: boolean } = {},
): Promise<LoraSettings> {
  expectNone(model);
  const { config, tensors: source } = await openPeftFolder(directory);
  try {
    const { rank, alpha, dropout } = config;
    const wanted = linearsOf(model).filter(({ module }) => isTarget(module, config.targetModules));
    const shapes = new Map<string, number[]>();
    for (const { module, linear } of wanted) {
      shapes.set(tensorName(module, "lora_A"), [rank, linear.weight.columns]);
      shapes.set(tensorName(module, "lora_B"), [linear.weight.rows, rank]);
    }
    checkTensors(directory, source.tensors, shapes, config.targetModules);
    for (const { module, linear } of wanted) {
      const a = await source.read(tensorName(module, "lora_A"));
      const b = await source.read(tensorName(module, "lora_B"));
      attachPair(model, { module, linear }, { rank, alpha, dropout, trainable: options.trainable ?? false }, a, b);
    }
    const every = wanted.length === linearsOf(model).length;
    const targets = every ? "all" : [...new Set(wanted.map(({ module }) => shortName(module)))];
    return { rank, alpha, dropout, targets };
  } catch (error) {
    detachLora(model);
    throw error;
  } finally {
    await source.close();
  }
}

/** A target is a full path or the last parts of one, as PEFT matches them. */
function isTarget(module: string, targets: readonly string[] | "all-linear"): boolean {
  return targets === "all-linear" || targets.some((target) => module === target || module.endsWith(`.${target}`));
}

function checkTensors(
  directory: string,
  tensors: ReadonlyMap<string, TensorInfo>,
  shapes: ReadonlyMap<string, number[]>,
  targets: readonly string[] | "all-linear",
): void {
  const problems: string[] = [];
  if (shapes.size === 0) problems.push(`no module of the model is called ${showValue(targets)}`);
  for (const [name, shape] of shapes) {
    const info = tensors.get(name);
    if (!info) problems.push(`tensor "${name}" is missing`);
    else if (info.shape.join() !== shape.join()) problems.push(`"${name}" is [${info.shape}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) {
    if (!shapes.has(name)) problems.push(`tensor ${showValue(name, 200)} belongs to no target module of the model`);
  }
  if (problems.length === 0) return;
  throw new UserErrors(`${directory}: the adapter does not fit the model:`, problems, {
    hint: "Was the adapter trained on another base model?",
  });
}
