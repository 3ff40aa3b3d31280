import { nearestName, UserErrors } from "../base/errors.ts";
import type { Weight } from "../compute/backend.ts";
import type { Decoder, Linear } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import type { Magnitude } from "../models/magnitude.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { type LinearModule, linearModules } from "../models/tensors.ts";

// The matrices that low-rank adapters adapt, and the choice of them.

/** A recipe writes this to have the targets chosen by the model's family. */
export const AUTO_TARGETS = "auto";

/** Names of modules as the family's checkpoints call them ("q_proj"), "auto" for the usual ones, "all" for every product of the layers. */
export type Targets = readonly string[] | "all" | typeof AUTO_TARGETS;

/** Ranks up to here are common, so a tiny model for tests may have one too. */
const SMALL_RANK = 256;

/** The modules that `auto` means for a family: those of the CRE-LLM authors' commands, and as for Llama where they had none. */
export function defaultTargets(modelType: string): string[] {
  return [...familyNamed(modelType, "adapter.targets").loraTargets];
}

/** A matrix as checkpoints store it: one of the decoder's products, or several as one matrix, which then share an adapter. */
export interface Module {
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
export function modulesOf(model: Decoder): Module[] {
  return model.layers.flatMap((layer, index) =>
    matricesOf(model.spec, index).map(({ slots, ...module }) => ({
      ...module,
      parts: slots.map((slot) => ({ slot, linear: layer[slot] })),
    })),
  );
}

/** The modules that targets mean, of a model that need not be loaded. */
export function targetsOfSpec(targets: Targets, spec: DecoderSpec): LinearModule[] {
  const layers = Array.from({ length: spec.layers }, (_, index) => matricesOf(spec, index));
  return layers.flat().filter(({ name }) => isChosen(targets, spec, name));
}

/** The adapter of a module. */
export interface ModuleAdapter {
  a: Weight;
  b: Weight[];
  /** One for each part; empty without magnitudes. */
  magnitudes: Magnitude[];
  scale: number;
}

export function adapterOf({ parts }: Module): ModuleAdapter | null {
  const lowRanks = parts.flatMap(({ linear }) => linear.lowRank ?? []);
  if (lowRanks.length === 0) return null;
  const [{ a, scale }] = lowRanks;
  return { a, b: lowRanks.map(({ b }) => b), magnitudes: lowRanks.flatMap(({ magnitude }) => magnitude ?? []), scale };
}

export const shortName = (module: string) => module.slice(module.lastIndexOf(".") + 1);

/** What is wrong with the targets for models of this specification. */
function targetProblems(targets: Targets, spec: DecoderSpec): string[] {
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

/** The modules of a model that targets mean. Throws a UserErrors that lists all unknown ones. */
export function targetModules(model: Decoder, targets: Targets): Module[] {
  const problems = targetProblems(targets, model.spec);
  if (problems.length > 0) throw new UserErrors("adapter.targets:", problems);
  return modulesOf(model).filter(({ name }) => isChosen(targets, model.spec, name));
}

/** Whether targets mean a module, by its full name. */
function isChosen(targets: Targets, spec: DecoderSpec, name: string): boolean {
  if (targets === "all") return true;
  return (targets === AUTO_TARGETS ? defaultTargets(spec.family) : targets).includes(shortName(name));
}

/** What of rank and targets does not fit a model of this specification, each with its key in the recipe. */
export function loraProblems({ rank, targets }: { rank: number; targets: Targets }, spec: DecoderSpec): string[] {
  const problems = targetProblems(targets, spec).map((problem) => `adapter.targets: ${problem}`);
  const most = mostRank(spec);
  if (rank > most) {
    problems.push(`adapter.rank is ${rank}, expected at most ${most}: no matrix of the model has a higher rank`);
  }
  return problems;
}

/** The largest rank that is any use: no product of two matrices, and no update of a weight, has a rank above the smaller side. */
function mostRank(spec: DecoderSpec): number {
  const sides = matricesOf(spec, 0).map(({ rows, columns }) => Math.min(rows, columns));
  return Math.max(SMALL_RANK, ...sides);
}

/** The sum over all target modules of a model of this specification. */
export function sumOverTargets(targets: Targets, spec: DecoderSpec, of: (module: LinearModule) => number): number {
  const chosen = matricesOf(spec, 0).filter(({ name }) => isChosen(targets, spec, name));
  // Every layer has the same matrices.
  return chosen.reduce((sum, module) => sum + of(module), 0) * spec.layers;
}
