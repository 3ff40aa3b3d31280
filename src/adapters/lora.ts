import { z } from "zod";
import { nearestName, showValue, UserError, UserErrors } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Weight } from "../compute/backend.ts";
import { addLowRank, mergeLoraInto, tensorsToWrite } from "../formats/merge-lora.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorInfo, TensorToWrite } from "../formats/tensor-source.ts";
import type { Decoder, Linear } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import { ggufLora } from "../models/gguf/write.ts";
import { rowsInHalves } from "../models/hugging-face-rows.ts";
import { hashName } from "../models/init.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { type LinearModule, linearModules } from "../models/tensors.ts";
import { joinRows } from "../models/weight-rows.ts";
import { oneGroup, type TuningMethod } from "./method.ts";

/** A recipe writes this to have the targets chosen by the model's family. */
const AUTO_TARGETS = "auto";

/** Ranks up to here are common, so a tiny model for tests may have one too. */
const SMALL_RANK = 256;

/** The modules that `auto` means for a family: those of the CRE-LLM authors' commands, and as for Llama where they had none. */
export function defaultTargets(modelType: string): string[] {
  return [...familyNamed(modelType, "adapter.targets").loraTargets];
}

/** Low-rank adaptation (Hu et al. 2021): y += alpha/rank · dropout(x)·aᵀ·bᵀ for chosen weights. */
export interface LoraSettings {
  rank: number; // R
  alpha: number;
  dropout: number;
  /** Names of modules as the family's checkpoints call them ("q_proj"), "auto" for the usual ones, "all" for every product of the layers. */
  targets: readonly string[] | "all" | typeof AUTO_TARGETS;
}

/** A matrix as checkpoints store it: one of the decoder's products, or several as one matrix, which then share an adapter. */
interface Module {
  /** Its full name, for example "model.layers.0.self_attn.q_proj". */
  name: string;
  parts: readonly { slot: string; linear: Linear }[];
  rows: number; // O, of all parts together
  columns: number; // I
}

/** The matrices of one layer. */
function matricesOf(spec: DecoderSpec, layer: number): LinearModule[] {
  return linearModules(spec, familyNamed(spec.family, "LoRA"), layer);
}

/** Every matrix inside the layers. */
function modulesOf(model: Decoder): Module[] {
  return model.layers.flatMap((layer, index) =>
    matricesOf(model.spec, index).map(({ slots, ...module }) => ({
      ...module,
      parts: slots.map((slot) => ({ slot, linear: layer[slot] })),
    })),
  );
}

/** The adapter of a module. */
function adapterOf({ parts }: Module): { a: Weight; b: Weight[]; scale: number } | null {
  const lowRanks = parts.flatMap(({ linear }) => linear.lowRank ?? []);
  return lowRanks.length === 0 ? null : { a: lowRanks[0].a, b: lowRanks.map(({ b }) => b), scale: lowRanks[0].scale };
}

const shortName = (module: string) => module.slice(module.lastIndexOf(".") + 1);

/** What is wrong with the targets for models of this specification. */
function targetProblems({ targets }: LoraSettings, spec: DecoderSpec): string[] {
  if (targets === "all" || targets === AUTO_TARGETS) return [];
  if (targets.length === 0) return ["there is none"];
  const known = [...new Set(matricesOf(spec, 0).map(({ name }) => shortName(name)))];
  return targets
    .filter((target) => !known.includes(target))
    .map((target) => {
      const nearest = nearestName(target, known);
      const advice = nearest ? `did you mean "${nearest}"?` : `expected ${known.join(", ")}, or "all"`;
      return `"${target}" is not a module of a ${spec.family} model, ${advice}`;
    });
}

function targetsOf(model: Decoder, settings: LoraSettings): Module[] {
  const problems = targetProblems(settings, model.spec);
  if (problems.length > 0) throw new UserErrors("adapter.targets:", problems);
  return modulesOf(model).filter(({ name }) => isChosen(settings, model.spec, name));
}

/** Whether the settings mean a module, by its full name. */
function isChosen({ targets }: LoraSettings, spec: DecoderSpec, name: string): boolean {
  if (targets === "all") return true;
  return (targets === AUTO_TARGETS ? defaultTargets(spec.family) : targets).includes(shortName(name));
}

/** The largest rank that is any use: no product of two matrices, and no update of a weight, has a rank above the smaller side. */
function mostRank(spec: DecoderSpec): number {
  const sides = matricesOf(spec, 0).map(({ rows, columns }) => Math.min(rows, columns));
  return Math.max(SMALL_RANK, ...sides);
}

/**
 * Adds a fresh adapter to the target modules: a uniform in ±1/√I (as PEFT), b zero, so the model starts unchanged. The same seed gives the
 * same weights. Throws a UserErrors that lists all unknown targets.
 */
export function attachLora(model: Decoder, settings: LoraSettings, seed: number): void {
  const targets = targetsOf(model, settings);
  expectNone(model);
  for (const module of targets) {
    const bound = 1 / Math.sqrt(module.columns);
    const random = createRandom(mixSeed(seed, hashName(module.name)));
    const a = Float32Array.from({ length: settings.rank * module.columns }, () => (2 * random.uniform() - 1) * bound);
    attachPair(model, module, { ...settings, trainable: true }, a, null);
  }
}

function expectNone(model: Decoder): void {
  const taken = modulesOf(model).find((module) => adapterOf(module));
  if (taken) throw new Error(`${taken.name} already has an adapter.`);
}

/** Adds a[R,I] and b[O,R] (zeros without values) to a module: all its parts share a, each has its rows of b. */
function attachPair(
  model: Decoder,
  module: Module,
  settings: { rank: number; alpha: number; dropout: number; trainable: boolean },
  a: Float32Array,
  b: Float32Array | null,
): void {
  const { backend } = model;
  const { rank, alpha, dropout, trainable } = settings;
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
    const placedB = module.parts.map(({ slot, linear }) => {
      const { rows } = linear.weight;
      const values = b?.subarray(start * rank, (start + rows) * rank);
      start += rows;
      return put(module.parts.length > 1 ? `lora_B:${slot}` : "lora_B", rows, rank, values);
    });
    for (const [i, { linear }] of module.parts.entries()) {
      linear.lowRank = { a: placedA, b: placedB[i], scale: alpha / rank, dropout };
    }
  } catch (error) {
    for (const weight of placed) backend.freeWeight(weight);
    throw error;
  }
}

/** The adapter's weights in a fixed order: a, b of each target. */
export function loraWeights(model: Decoder): Weight[] {
  return modulesOf(model).flatMap((module) => {
    const adapter = adapterOf(module);
    return adapter ? [adapter.a, ...adapter.b] : [];
  });
}

/** Removes and frees the adapter: the base model is as before. */
export function detachLora(model: Decoder): void {
  for (const module of modulesOf(model)) freePair(model, module);
}

function freePair(model: Decoder, module: Module): void {
  const adapter = adapterOf(module);
  if (!adapter) return;
  for (const weight of [adapter.a, ...adapter.b]) model.backend.freeWeight(weight);
  for (const { linear } of module.parts) linear.lowRank = null;
}

/**
 * Adds scale · b·a to each target weight (in float64, then rounded to the weight's storage) and removes the adapter. Throws a UserError,
 * with nothing changed, for a target in int8 or nf4: rounding the sum to 8 or 4 bits would lose the adapter.
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
      const { a, b, scale } = linear.lowRank;
      const [w, valuesA, valuesB] = await Promise.all(
        [linear.weight, a, b].map((weight) => backend.readWeight(weight)),
      );
      addLowRank(w, valuesA, valuesB, scale, [O, I, a.rows]);
      backend.writeWeight(linear.weight, w);
    }
    freePair(model, module);
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
  const modules = modulesOf(model);
  const read = (weight: Weight) => model.backend.readWeight(weight);
  for (const module of modules) {
    const adapter = adapterOf(module);
    if (!adapter) continue;
    // PEFT applies a short name to this module in every layer.
    const short = shortName(module.name);
    const everywhere = modules.every((other) => shortName(other.name) !== short || adapterOf(other) !== null);
    targets.add(everywhere ? short : module.name);
    const { a, b } = adapter;
    const put = (part: "lora_A" | "lora_B", shape: number[], values: TensorToWrite["values"]) =>
      tensors.push({ name: tensorName(module.name, part), dtype: "F32", shape, values });
    put("lora_A", [a.rows, a.columns], () => read(a));
    put("lora_B", [module.rows, a.rows], async () => joinRows(await Promise.all(b.map(read))));
  }
  const { rank, alpha, dropout } = settings;
  await savePeftFolder(directory, { rank, alpha, dropout, targetModules: [...targets], baseModel }, tensors);
}

/**
 * Loads a PEFT folder's LoRA adapter onto the model, frozen unless `trainable`. Every target needs its tensors in the right shape and no
 * tensor may be left over: throws a UserErrors with all problems, and leaves the model without the adapter.
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
    const wanted = modulesOf(model).filter(({ name }) => isTarget(name, config.targetModules));
    const shapes = new Map<string, number[]>();
    for (const { name, rows, columns } of wanted) {
      shapes.set(tensorName(name, "lora_A"), [rank, columns]);
      shapes.set(tensorName(name, "lora_B"), [rows, rank]);
    }
    checkTensors(directory, source.tensors, shapes, config.targetModules);
    for (const module of wanted) {
      const a = await source.read(tensorName(module.name, "lora_A"));
      const b = await source.read(tensorName(module.name, "lora_B"));
      attachPair(model, module, { rank, alpha, dropout, trainable: options.trainable ?? false }, a, b);
    }
    const every = wanted.length === modulesOf(model).length;
    const targets = every ? "all" : [...new Set(wanted.map(({ name }) => shortName(name)))];
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

const schema = z.strictObject({
  method: z.literal("lora").describe("What is trained: low-rank products added to frozen weights."),
  rank: z.int().min(1).default(8).describe("Rank of the low-rank products (R)."),
  alpha: z.number().positive().default(32).describe("Scale of the low-rank products: they count alpha / rank times."),
  dropout: z.number().min(0).lt(1).default(0.1).describe("Dropout on the input of the low-rank products."),
  targets: z
    .union([z.enum([AUTO_TARGETS, "all"]), z.array(z.string()).min(1)])
    .default(AUTO_TARGETS)
    .describe("Modules with a low-rank product: names, all, or auto for those usual in the model's family."),
});

/** The tuning method `lora`: the base stays frozen, in any storage. */
export const lora = {
  name: "lora",
  schema,
  // QLoRA (Dettmers et al. 2023) with 7B and 13B.
  usualLearningRate: 2e-4,
  storages: ["float32", "bfloat16", "int8", "nf4"],
  startsFrom: "trained model",
  resolve: (settings, modelType) =>
    settings.targets === AUTO_TARGETS ? { ...settings, targets: defaultTargets(modelType) } : settings,
  problems(settings, spec) {
    const problems = targetProblems(settings, spec).map((problem) => `adapter.targets: ${problem}`);
    const most = mostRank(spec);
    if (settings.rank > most) {
      problems.push(
        `adapter.rank is ${settings.rank}, expected at most ${most}: no matrix of the model has a higher rank`,
      );
    }
    return problems;
  },
  trainsOfBase: () => false,
  addedNumbers(settings, spec) {
    const chosen = matricesOf(spec, 0).filter(({ name }) => isChosen(settings, spec, name));
    // Every layer has the same matrices.
    return chosen.reduce((sum, { rows, columns }) => sum + settings.rank * (rows + columns), 0) * spec.layers;
  },
  async attach(model, settings, seed) {
    attachLora(model, settings, seed);
    return oneGroup(loraWeights(model));
  },
  saved: {
    kind: "adapter",
    save: saveLora,
    async load(model, directory) {
      await loadLora(model, directory);
    },
    async saveInHalves(directory, output, spec) {
      const { config, tensors } = await openPeftFolder(directory);
      try {
        await savePeftFolder(output, config, rowsInHalves(tensorsToWrite(tensors, "F32"), spec));
      } finally {
        await tensors.close();
      }
    },
    async merge(base, directory, where) {
      const adapter = await openPeftFolder(directory);
      return withSource(adapter.tensors, () => ({ tensors: mergeLoraInto(base, adapter, where) }));
    },
    async ggufAdapter(directory, sizes, where) {
      const { config, tensors } = await openPeftFolder(directory);
      return withSource(tensors, () => ggufLora(config, tensorsToWrite(tensors, "F32"), sizes, where));
    },
  },
} satisfies TuningMethod<z.output<typeof schema>>;

/** What is made from an open file, with the function that closes it; closes it at once when making fails. */
async function withSource<T>(
  source: { close(): Promise<void> },
  make: () => T,
): Promise<T & Pick<typeof source, "close">> {
  try {
    return { ...make(), close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}
