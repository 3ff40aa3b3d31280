import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { openBackend } from "../compute/open.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { loadDecoder } from "../models/load.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { expectHandOver, writeHandOver } from "../pretrain/hand-over.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import { readResultJson, readSteps } from "./collected-files.ts";
import type { NoticeEvent } from "./notice.ts";
import { openPretrainData, type PretrainValidation, saveFinishedPretraining } from "./pretrain-run.ts";
import { expectSizes } from "./pretrain-start.ts";
import { openPretrainSizes, PRETRAINING, type TokensEvent } from "./pretraining.ts";
import { newRun, workInRun } from "./protocol.ts";

const resultSchema = z.object({
  steps: z.int().min(1),
  decaySteps: z.int().min(0),
  seconds: z.number().min(0),
  device: z.string().max(200),
  torch: z.string().max(100),
});

/** Which program elsewhere made a run's weights; saved as engine.json. */
export type TrainedElsewhere = z.output<typeof resultSchema>;

const stepSchema = z.object({
  step: z.int().min(1),
  loss: z.number(),
  learningRate: z.number(),
  gradientNorm: z.number(),
  tokens: z.int().min(1),
  seconds: z.number().min(0),
});

/** Tokenizes a recipe's text into a folder and writes what engines/torch/pretrain.py needs beside it. Throws a UserError. */
export async function handOver(
  recipe: PretrainRecipe,
  directory: string,
  onEvent: (event: TokensEvent) => void,
): Promise<{ spec: DecoderSpec; tokens: number }> {
  const { tokenizer, spec } = await openPretrainSizes(recipe);
  expectHandOver(recipe, spec);
  const { sources, marks } = await openPretrainData(recipe, tokenizer, directory, (source, documents, characters) =>
    onEvent({ kind: "tokens", source, documents, characters }),
  );
  await writeHandOver(directory, recipe, spec, tokenizer, sources, marks);
  return { spec, tokens: sources.reduce((sum, { train }) => sum + train.tokens.length, 0) };
}

/**
 * Makes a finished run of the weights that engines/torch/pretrain.py trained from a hand-over of this recipe: log, checkpoint, a validation
 * computed here. Throws a UserError for files that are missing, or weights of other sizes than the recipe's.
 */
export async function collectPretraining(
  recipe: PretrainRecipe,
  collected: string,
  directory: string,
  where: string,
  onEvent: (event: TokensEvent | NoticeEvent) => void,
  tokens = join(directory, "tokens"),
): Promise<PretrainValidation> {
  if (recipe.model.start !== undefined) {
    throw new UserError("--collect: engines/torch/pretrain.py began with random weights, not with model.start.", {
      hint: "Give the recipe that was handed over.",
    });
  }
  const result = await readResult(collected);
  const made: PretrainRecipe = {
    ...recipe,
    train: { ...recipe.train, steps: result.steps, decaySteps: result.decaySteps },
  };
  const log = (await readSteps(collected, stepSchema)).map((step) => {
    return { ...step, tokensPerSecond: step.tokens / Math.max(1e-9, step.seconds) };
  });
  const run = await newRun(PRETRAINING, directory, made, where);
  const { tokenizer, spec } = await openPretrainSizes(made);
  const backend = openBackend(made.precision, (text) => onEvent({ kind: "notice", text }));
  let validation: PretrainValidation | null = null;
  try {
    const checkpoint = await openCheckpoint(collected);
    try {
      const { storage } = made.model;
      const model = await loadDecoder(backend, checkpoint, { storage, trainable: true });
      expectSizes(model.spec, spec, collected, "Give the recipe that was handed over.");
      await workInRun(run, {}, async ({ begin }) => {
        await begin(made);
        const data = await openPretrainData(made, tokenizer, tokens, (source, documents, characters) =>
          onEvent({ kind: "tokens", source, documents, characters }),
        );
        await writeFileAtomic(join(directory, "engine.json"), `${JSON.stringify(result)}\n`);
        validation = await saveFinishedPretraining(model, made, data, run.folder, log);
        return null;
      });
    } finally {
      await checkpoint.source.close();
    }
  } finally {
    await backend.close();
  }
  return validation as unknown as PretrainValidation;
}

/** The program elsewhere that made a run's weights; null for a run trained here. */
export async function readTrainedElsewhere(directory: string): Promise<TrainedElsewhere | null> {
  const file = join(directory, "engine.json");
  return existsSync(file) ? readResultJson(file, resultSchema) : null;
}

async function readResult(collected: string): Promise<TrainedElsewhere> {
  const file = join(collected, "result.json");
  if (!existsSync(file)) {
    throw new UserError(`${collected}: has no result.json, which engines/torch/pretrain.py writes at its end.`);
  }
  return readResultJson(file, resultSchema);
}
