import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { methodOf } from "../adapters/methods.ts";
import { UserError } from "../base/errors.ts";
import { copyFileAtomic, writeFileAtomic } from "../base/files.ts";
import { packageRoot } from "../compute/native/levels.ts";
import { readJsonObject } from "../formats/json-file.ts";
import { familyNamed } from "../models/families/registry.ts";
import { addsToResidual } from "../models/layer.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { layerTensors } from "../models/tensors.ts";
import { digestOfFile } from "../pretrain/token-file.ts";
import { recipeText } from "../recipe/read.ts";
import type { PreparedRecipe } from "../runs/prepare.ts";
import { tokenizerPath } from "../runs/trained.ts";
import type { TrainingOrigin } from "../runs/training-state.ts";
import type { EncodedExample, StepPlan } from "../train/batches.ts";
import { AXOLOTL_FILE, axolotlConfig } from "./axolotl.ts";
import { expectNativeBase, writeNativeBase } from "./native-base.ts";
import { EXAMPLES_FILE, ROWS_FILE, STEPS_FILE, writeRows, writeSteps } from "./rows.ts";

export const HAND_OVER_FILE = "hand-over.json";
const ADAPTER_WEIGHTS = "adapter/adapter_model.safetensors";
/** Files that the trainer checks before it begins. */
const CHECKED = [ROWS_FILE, EXAMPLES_FILE, STEPS_FILE, ADAPTER_WEIGHTS];
const STORAGES: readonly string[] = ["float32", "bfloat16", "nf4"];

/** Where the trainer's script and what it needs are. */
export const TRAINER_FOLDER = join(packageRoot, "engines", "torch");
const TRAINER_FILES = ["train.py", "requirements.txt"];

export const originSchema = z.object({ recipe: z.string(), rows: z.string() });

/** Everything that is learnt, and when. */
export interface Learnt {
  encoded: readonly EncodedExample[];
  plan: StepPlan;
  due: Record<"averages" | "validates", (step: number) => boolean>;
  origin: TrainingOrigin;
}

/** Throws a UserError for a recipe that engines/torch/train.py does not train. */
export function expectHandOver({ recipe, spec }: Pick<PreparedRecipe, "recipe" | "spec">): void {
  const { adapter, model } = recipe;
  const refuse = (what: string, hint: string) => {
    throw new UserError(`--engine torch: ${what}.`, { hint });
  };
  if (!methodOf(adapter).elsewhere) {
    refuse(`adapter.method "${adapter.method}" is trained here only`, 'Choose adapter.method "lora" or "dora".');
  }
  if (!STORAGES.includes(model.storage)) {
    refuse(`model.storage ${model.storage} is for this program only`, "Choose float32, bfloat16 or nf4 (QLoRA).");
  }
  expectNativeBase(spec, "--engine torch");
}

/** The settings as engines/torch/train.py reads them. */
function planOf({ recipe, spec }: PreparedRecipe, { encoded, plan, origin }: Learnt, rows: number, nativeType: string) {
  const { train, adapter, prompt } = recipe;
  const { seed, model, precision } = recipe;
  return {
    version: 1,
    origin,
    model: {
      nativeType,
      layers: spec.layers,
      storage: model.storage,
      precision,
      attention: prompt.attention ?? "causal",
      residualModules: residualModules(spec),
    },
    examples: encoded.length,
    rows,
    steps: plan.totalSteps,
    stepsPerEpoch: plan.stepsPerEpoch,
    train: {
      seed,
      batchExamples: train.batchExamples,
      beta1: train.beta1,
      beta2: train.beta2,
      epsilon: train.epsilon,
      weightDecay: train.weightDecay,
      clipNorm: train.clipNorm,
      promptLoss: train.promptLoss,
      labelSmoothing: train.labelSmoothing,
      dropout: train.dropout,
      tokenNoise: train.tokenNoise,
      embeddingNoise: train.embeddingNoise,
      layerDecay: train.layerDecay,
      learningRateRatio: "learningRateRatio" in adapter ? adapter.learningRateRatio : 1,
      recompute: train.recompute,
      checkpointSeconds: train.checkpointSeconds,
    },
  };
}

/** The modules of a layer whose products are added to the residual stream, by the last parts of their names. */
function residualModules(spec: DecoderSpec): string[] {
  const tensors = layerTensors(spec, familyNamed(spec.family, "model"), 0);
  const names = tensors.filter(({ slots }) => slots.some(addsToResidual)).map(({ module }) => module.split(".").at(-1));
  return [...new Set(names as string[])];
}

/** Writes all that a trainer elsewhere needs; hand-over.json comes last, so that a folder with one is complete. */
export async function writeHandOver(
  directory: string,
  prepared: PreparedRecipe,
  learnt: Learnt,
  onNotice: (text: string) => void,
): Promise<void> {
  const { recipe, spec, base } = prepared;
  if (!base) throw new Error("writeHandOver: there is no base model.");
  const { adapter, train, seed } = recipe;
  await writeNativeBase(base, spec, tokenizerPath(recipe), join(directory, "base"), onNotice);
  await methodOf(adapter).elsewhere?.writeFresh(adapter, spec, seed, join(directory, "adapter"));
  const rowsOf = await writeRows(directory, learnt.encoded, train.promptLoss);
  await writeSteps(directory, learnt.plan, train, rowsOf, learnt.due);
  await writeFileAtomic(join(directory, "recipe.yaml"), recipeText(recipe));
  for (const name of TRAINER_FILES) await copyFileAtomic(join(TRAINER_FOLDER, name), join(directory, name));
  const { target_modules: targets } = await readJsonObject(
    join(directory, "adapter", "adapter_config.json"),
    "an adapter",
  );
  const { maxPromptTokens, maxAnswerTokens } = recipe.prompt;
  const axolotl = axolotlConfig(recipe, targets as string[], maxPromptTokens + maxAnswerTokens);
  await writeFileAtomic(join(directory, AXOLOTL_FILE), axolotl);
  const { model_type: nativeType } = await readJsonObject(join(directory, "base", "config.json"), "a configuration");
  const files: Record<string, string> = {};
  for (const name of CHECKED) files[name] = await digestOfFile(join(directory, name));
  const rows = rowsOf.reduce((sum, own) => sum + own.length, 0);
  const plan = { ...planOf(prepared, learnt, rows, String(nativeType)), files };
  await writeFileAtomic(join(directory, HAND_OVER_FILE), `${JSON.stringify(plan, null, 2)}\n`);
}

/** Whether a folder holds this training whole. Throws a UserError when it holds another one. */
export async function hasHandOver(directory: string, origin: TrainingOrigin): Promise<boolean> {
  const file = join(directory, HAND_OVER_FILE);
  if (!existsSync(file)) return false;
  const found = await readJsonObject(file, "a hand-over");
  const own = originSchema.safeParse(found.origin);
  if (own.data?.recipe === origin.recipe && own.data.rows === origin.rows) return true;
  throw new UserError(`${directory}: was handed over with other settings or rows than the run has now.`, {
    hint: "Undo the change made since, or start a new run.",
  });
}
