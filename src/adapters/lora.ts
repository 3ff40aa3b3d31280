import { nearestName, UserError } from "../base/errors.ts";
import { createRandom, mixSeed } from "../base/random.ts";
import type { Weight } from "../compute/backend.ts";
import { openPeftFolder, savePeftFolder } from "../formats/peft-folder.ts";
import type { TensorToWrite } from "../formats/tensor-source.ts";
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
  for (const target of targets) {
    if (known.has(target)) continue;
    const nearest = nearestName(target, known);
    throw new UserError(`adapter.targets: "${target}" is not a module of a ${model.spec.family} model.`, {
      hint: `${nearest ? `Did you mean "${nearest}"? ` : ""}Modules: ${[...known].join(", ")}; or "all".`,
    });
  }
  return linears.filter(({ module }) => targets.includes(shortName(module)));
}

/** Puts a fresh adapter beside the target weights: a uniform in ±1/√I (as PEFT), b zero, so the model starts unchanged. */
export function attachLora(model: Decoder, settings: LoraSettings, seed: number): void {
  for (const { module, linear } of targetsOf(model, settings.targets)) {
    const bound = 1 / Math.sqrt(linear.weight.columns);
    const random = createRandom(mixSeed(seed, hashName(module)));
    const values = Float32Array.from({ length: settings.rank * linear.weight.columns }, () => {
      return (2 * random.uniform() - 1) * bound;
    });
    attachPair(model, { module, linear }, settings, values, undefined);
  }
}

function attachPair(
  model: Decoder,
  { module, linear }: NamedLinear,
  settings: LoraSettings,
  a: ArrayLike<number> | undefined,
  b: ArrayLike<number> | undefined,
): void {
  if (linear.lowRank) throw new Error(`${module} already has an adapter.`);
  const weight = (name: string, rows: number, columns: number, values: ArrayLike<number> | undefined): Weight =>
    model.backend.weight({ name: `${module}.${name}`, rows, columns, storage: "bfloat16", trainable: true }, values);
  linear.lowRank = {
    a: weight("lora_A", settings.rank, linear.weight.columns, a),
    b: weight("lora_B", linear.weight.rows, settings.rank, b),
    scale: settings.alpha / settings.rank,
    dropout: settings.dropout,
  };
}

/** The adapter's weights in a fixed order: a, b of each target. */
export function loraWeights(model: Decoder): Weight[] {
  return linearsOf(model).flatMap(({ linear }) => (linear.lowRank ? [linear.lowRank.a, linear.lowRank.b] : []));
}

/** Takes the adapter off and frees it: the base model is as before. */
export function detachLora(model: Decoder): void {
  for (const { linear } of linearsOf(model)) {
    if (!linear.lowRank) continue;
    model.backend.freeWeight(linear.lowRank.a);
    model.backend.freeWeight(linear.lowRank.b);
    linear.lowRank = null;
  }
}

/** Adds scale · b·a to each target weight (in float64, then rounded to the weight's storage) and takes the adapter off. */
export async function mergeLora(model: Decoder): Promise<void> {
  const { backend } = model;
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
    const row = new Float64Array(I);
    for (let o = 0; o < O; o++) {
      row.fill(0);
      for (let r = 0; r < R; r++) {
        const factor = scale * b[o * R + r];
        for (let i = 0; i < I; i++) row[i] += factor * a[r * I + i];
      }
      for (let i = 0; i < I; i++) w[o * I + i] += row[i];
    }
    backend.writeWeight(linear.weight, w);
  }
  detachLora(model);
}

const PREFIX = "base_model.model.";

/** Saves the adapter as a PEFT folder. */
export async function saveLora(
  model: Decoder,
  settings: LoraSettings,
  directory: string,
  baseModel: string | null,
): Promise<void> {
  const tensors: TensorToWrite[] = [];
  const modules = new Set<string>();
  for (const { module, linear } of linearsOf(model)) {
    if (!linear.lowRank) continue;
    modules.add(shortName(module));
    for (const [name, weight] of [["lora_A", linear.lowRank.a] as const, ["lora_B", linear.lowRank.b] as const]) {
      tensors.push({
        name: `${PREFIX}${module}.${name}.weight`,
        dtype: "F32",
        shape: [weight.rows, weight.columns],
        values: () => model.backend.readWeight(weight),
      });
    }
  }
  const { rank, alpha, dropout } = settings;
  await savePeftFolder(directory, { rank, alpha, dropout, targetModules: [...modules], baseModel }, tensors);
}

/** Loads a PEFT folder's LoRA adapter onto the model; every tensor must fit and none may be left over. */
export async function loadLora(model: Decoder, directory: string): Promise<LoraSettings> {
  const { config, tensors } = await openPeftFolder(directory);
  try {
    const { rank, alpha, dropout } = config;
    // A target may be a full path or the last part of one, as PEFT matches them.
    const wanted = linearsOf(model).filter(({ module }) =>
      config.targetModules.some((target) => module === target || module.endsWith(`.${target}`)),
    );
    const settings: LoraSettings = {
      rank,
      alpha,
      dropout,
      targets: [...new Set(wanted.map((w) => shortName(w.module)))],
    };
    const unused = new Set(tensors.tensors.keys());
    for (const { module, linear } of wanted) {
      const read = async (part: string, shape: number[]) => {
        const name = `${PREFIX}${module}.${part}.weight`;
        const info = tensors.tensors.get(name);
        if (!info) throw new UserError(`${directory}: tensor "${name}" is missing from the adapter.`);
        if (info.shape.join() !== shape.join()) {
          throw new UserError(`${directory}: "${name}" is [${info.shape}], expected [${shape}].`, {
            hint: "Was the adapter trained on another base model?",
          });
        }
        unused.delete(name);
        return tensors.read(name);
      };
      const a = await read("lora_A", [rank, linear.weight.columns]);
      const b = await read("lora_B", [linear.weight.rows, rank]);
      attachPair(model, { module, linear }, settings, a, b);
    }
    if (unused.size > 0) {
      const [first] = unused;
      throw new UserError(
        `${directory}: ${unused.size} tensors of the adapter fit no module of the model ("${first}", …).`,
      );
    }
    return settings;
  } catch (error) {
    detachLora(model);
    throw error;
  } finally {
    await tensors.close();
  }
}
