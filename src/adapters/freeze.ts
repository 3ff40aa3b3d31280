import { z } from "zod";
import { nearestName } from "../base/errors.ts";
import { decoderWeights } from "../models/decoder.ts";
import { familyNamed } from "../models/families/registry.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { layerTensors } from "../models/tensors.ts";
import { oneGroup, type TuningMethod } from "./method.ts";

const schema = z.strictObject({
  method: z.literal("freeze").describe("What is trained: whole weights of some modules in some layers."),
  layers: z
    .int()
    .refine((count) => count !== 0, "0 layers would train nothing: expected the last (3) or the first (-3)")
    .default(3)
    .describe("Number of layers that are trained: the last ones, or the first ones when negative."),
  modules: z
    .union([z.literal("all"), z.array(z.string()).min(1)])
    .default(["mlp"])
    .describe('Modules of these layers by name (mlp, q_proj, mlp.down_proj), or "all".'),
});

type FreezeSettings = z.output<typeof schema>;

/** The layers that are trained. */
function layersOf({ layers: count }: FreezeSettings, spec: DecoderSpec): number[] {
  const layers = Array.from({ length: spec.layers }, (_, index) => index);
  return count > 0 ? layers.slice(-count) : layers.slice(0, -count);
}

/** The modules of one layer: full names, and names inside the layer. */
function namesOf(spec: DecoderSpec, layer: number): { module: string; name: string }[] {
  const family = familyNamed(spec.family, "adapter.modules");
  const start = `${family.names.layers}${layer}.`.length;
  return layerTensors(spec, family, layer).map(({ module }) => ({ module, name: module.slice(start) }));
}

/** A name means a module of the layer ("mlp.down_proj"), its last part, or the block around it. */
function means(wanted: string, name: string): boolean {
  return `.${name}.`.includes(`.${wanted}.`);
}

/**
 * The tuning method `freeze`: the whole weights of some modules in the last or first layers are trained, everything else stays frozen. The
 * defaults are those of LLaMA-Efficient-Tuning (num_layer_trainable 3, name_module_trainable mlp).
 */
export const freeze = {
  name: "freeze",
  schema,
  // LLaMA-Factory's examples.
  usualLearningRate: 5e-5,
  storages: ["float32", "bfloat16"],
  startsFrom: "trained model",
  resolve: (settings) => settings,
  problems({ layers, modules }, spec) {
    const problems: string[] = [];
    if (Math.abs(layers) > spec.layers) {
      problems.push(`adapter.layers is ${layers}, expected at most the ${spec.layers} layers of the model`);
    }
    if (modules === "all") return problems;
    const names = namesOf(spec, 0).map(({ name }) => name);
    const known = [...new Set(names.flatMap((name) => name.split(".")))];
    for (const wanted of modules) {
      if (names.some((name) => means(wanted, name))) continue;
      const nearest = nearestName(wanted, known);
      const advice = nearest ? `did you mean "${nearest}"?` : `expected ${known.join(", ")}, or "all"`;
      problems.push(`adapter.modules: "${wanted}" is not a module of a ${spec.family} model, ${advice}`);
    }
    return problems;
  },
  trainsOfBase(settings, spec) {
    const { modules } = settings;
    const isWanted = (name: string) => modules === "all" || modules.some((wanted) => means(wanted, name));
    const trained = layersOf(settings, spec).flatMap((layer) =>
      namesOf(spec, layer).flatMap(({ module, name }) => (isWanted(name) ? [`${module}.`] : [])),
    );
    return (weight) => trained.some((module) => weight.startsWith(module));
  },
  addedNumbers: () => 0,
  async attach(model) {
    return oneGroup(decoderWeights(model).filter(({ trainable }) => trainable));
  },
  saved: { kind: "model" },
} satisfies TuningMethod<FreezeSettings>;
