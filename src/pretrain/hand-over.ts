import { basename, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { familyNamed } from "../models/families/registry.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { PretrainRecipe } from "./recipe.ts";
import { type DocumentMarks, MASK_SPAN } from "./sequences.ts";
import type { TokenSource } from "./token-file.ts";

export const HAND_OVER_FILE = "hand-over.json";

/** Throws a UserError for sizes and schedules that engines/torch/pretrain.py does not know. */
export function expectHandOver({ model, train }: PretrainRecipe, spec: DecoderSpec): void {
  const { family, heads, keyValueHeads, tiedHead } = model.init;
  const { positions, headWidth, queryKeyValueBias, queryKeyNorm, normalizedHead } = spec;
  if (model.start !== undefined) {
    throw new UserError("--hand-over: engines/torch/pretrain.py begins with random weights, not with model.start.", {
      hint: "Train here, without --hand-over.",
    });
  }
  const rotatesAll = positions.kind === "rotary" && positions.rotatedWidth === headWidth;
  const refuse = (what: string) => {
    throw new UserError(`--hand-over: engines/torch/pretrain.py does not train ${what}.`, {
      hint: "Train here, without --hand-over.",
    });
  };
  if (!rotatesAll || queryKeyValueBias || queryKeyNorm || normalizedHead) {
    refuse(`the family ${family}, only models with rotary positions, plain queries and keys, and no biases`);
  }
  if (heads !== keyValueHeads) refuse(`${keyValueHeads} key and value heads for ${heads} heads, only as many`);
  if (!tiedHead) refuse("a head of its own, only one tied to the embedding (model.init.tiedHead)");
  if (train.optimizer !== "muon") refuse(`with ${train.optimizer}, only with muon (train.optimizer: muon)`);
  if (train.schedule !== "trapezoid") refuse(`the schedule ${train.schedule}, only trapezoid`);
}

/**
 * Writes what a trainer elsewhere needs beside the files of token ids that are in the folder already: hand-over.json with sizes, marks,
 * sources and settings, and the model's config.json. The texts stay here.
 */
export async function writeHandOver(
  directory: string,
  recipe: PretrainRecipe,
  spec: DecoderSpec,
  tokenizer: Tokenizer,
  sources: readonly TokenSource[],
  marks: DocumentMarks,
): Promise<void> {
  const { init } = recipe.model;
  const { train, data, seed } = recipe;
  const { heads, feedForward, normEpsilon, rotaryBase, layers, width } = init;
  const plan = {
    model: { vocabularySize: spec.vocabularySize, width, layers, heads, feedForward, normEpsilon, rotaryBase },
    marks: { ...marks, mask: marks.mask ?? tokenizer.unkId ?? marks.end },
    sources: sources.map(({ name, file }) => {
      const { weight, finalWeight = weight } = data.sources[name];
      return { name, file: basename(file), weight, finalWeight };
    }),
    train: {
      seed,
      sequenceTokens: train.sequenceTokens,
      batchSequences: train.passSequences * train.accumulation,
      steps: train.steps,
      warmupSteps: train.warmupSteps,
      decaySteps: train.decaySteps,
      finalLearningRate: train.finalLearningRate,
      learningRate: train.learningRate,
      beta1: train.beta1,
      beta2: train.beta2,
      epsilon: train.epsilon,
      weightDecay: train.weightDecay,
      clipNorm: train.clipNorm,
      prefixShare: train.prefixShare ?? 0,
      maskShare: train.maskShare ?? 0,
      maskSpan: MASK_SPAN,
      validateEverySteps: train.validateEverySteps,
    },
  };
  const config = { ...familyNamed(spec.family, directory).writeConfig(spec), torch_dtype: "bfloat16" };
  await writeFileAtomic(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  await writeFileAtomic(join(directory, HAND_OVER_FILE), `${JSON.stringify(plan, null, 2)}\n`);
}
