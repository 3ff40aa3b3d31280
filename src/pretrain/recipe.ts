import { existsSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { stringify as stringifyYaml } from "yaml";
import { z } from "zod";
import { UserErrors } from "../base/errors.ts";
import { checkSchema, problemsTitle } from "../base/schema.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { readSpec } from "../models/families/registry.ts";
import { sizesOf } from "../models/sizes.ts";
import type { ModelSizes } from "../models/spec.ts";
import { count, MOST } from "../recipe/answer-schema.ts";
import type { RecipeValues } from "../recipe/defaults.ts";
import { missingDataProblem, missingModelProblem } from "../recipe/path-hints.ts";
import { readRecipeValues } from "../recipe/read.ts";
import { initSchema, precisionSchema, SEED_DESCRIPTION, seedSchema } from "../recipe/schema.ts";

const share = z.number().min(0).max(1);

const sourceSchema = z.strictObject({
  path: z.string().describe("File, relative to data.folder; for the format relations the folder of a data set."),
  format: z
    .enum(["text", "jsonl", "relations"])
    .default("text")
    .describe(
      'text: documents separated by blank lines; jsonl: one object with a "text" a line (both .gz or not); relations: the distinct training sentences of a relation data set, without those that repeat a sentence of another split.',
    ),
  weight: z
    .number()
    .positive()
    .default(1)
    .describe("Share of the tokens from this source, relative to the other sources' weights."),
  finalWeight: z
    .number()
    .positive()
    .optional()
    .describe("The same in the trapezoid's final phase; without it the weight stays."),
  heldOut: share.lt(1).default(0.02).describe("Share of the documents that are only validated on."),
  origin: z.string().default("").describe("Where the text comes from, for the model's card."),
  licence: z.string().default("").describe("Licence of the text, for the model's card."),
});

const trainSchema = z.strictObject({
  sequenceTokens: count(1 << 16)
    .default(512)
    .describe("Tokens of one packed sequence: how far a token can look back."),
  passSequences: count(MOST.examples).default(8).describe("Sequences of one forward pass."),
  accumulation: count(MOST.passes).default(4).describe("Forward passes whose gradients make one update (a step)."),
  prefixShare: share
    .optional()
    .describe(
      "Share of the sequences whose documents begin with a prefix of random length: its tokens see each other and are not predicted (prompt.attention both); without it none.",
    ),
  maskShare: share
    .lt(1)
    .optional()
    .describe(
      "Share of a prefix's tokens, about, that are masked in spans of 1 to 3 (with the tokenizer's padding token) and predicted by the position before; without it none.",
    ),
  steps: count(MOST.steps).describe("Updates in all."),
  learningRate: z.number().positive().describe("Highest learning rate."),
  optimizer: z
    .enum(["adamw", "muon"])
    .default("adamw")
    .describe("What updates the layers' matrices; muon updates the other weights with AdamW at half the rate."),
  schedule: z
    .enum(["trapezoid", "cosine"])
    .default("trapezoid")
    .describe(
      "trapezoid: constant after the warm-up, then linear over decaySteps; cosine: falls from the warm-up to the end.",
    ),
  warmupSteps: z
    .int()
    .min(0)
    .max(MOST.steps)
    .describe("Steps over which the learning rate rises from 0; without it a twentieth of all."),
  decaySteps: z
    .int()
    .min(0)
    .max(MOST.steps)
    .describe("Steps of the trapezoid's final phase, without it two fifths of all; --decay-now starts it earlier."),
  finalLearningRate: share.default(0).describe("Learning rate at the end, as a share of the highest."),
  beta1: share.lt(1).default(0.9).describe("AdamW's decay of the mean gradient."),
  beta2: share.lt(1).default(0.95).describe("AdamW's decay of the mean squared gradient."),
  epsilon: z.number().positive().default(1e-8).describe("Added to AdamW's denominator."),
  weightDecay: z.number().min(0).default(0.1).describe("AdamW's decoupled weight decay."),
  clipNorm: z.number().min(0).default(1).describe("Largest norm of the whole gradient; 0 does not clip."),
  validateEverySteps: z
    .int()
    .min(0)
    .max(MOST.steps)
    .default(100)
    .describe(
      "Steps between validations, with one more at the end, and with model.start one before the first; 0 never validates.",
    ),
  checkpointSeconds: z.number().positive().max(MOST.seconds).default(300).describe("Seconds between checkpoints."),
  recompute: z
    .boolean()
    .default(false)
    .describe(
      "Compute activations inside layers again in the backward pass instead of keeping them: less memory, more time.",
    ),
});

export const pretrainRecipeSchema = z
  .strictObject({
    model: z
      .strictObject({
        init: initSchema.describe("Sizes of the model; without it those of start."),
        start: z
          .string()
          .optional()
          .describe(
            "Folder of a model of these sizes and this tokenizer whose weights are the first ones; without it they are random.",
          ),
        startOrigin: z.string().optional().describe("What that model has read, for the new model's card."),
        tokenizer: z.string().describe("Tokenizer file, or a folder with one; without it that of start."),
        storage: z
          .enum(["float32", "bfloat16"])
          .default("bfloat16")
          .describe("How the layers' matrices are kept in memory."),
      })
      .describe("The model to make."),
    data: z
      .strictObject({
        folder: z.string().describe("Folder that the sources' paths are relative to."),
        sources: z
          .record(z.string().regex(/^[A-Za-z0-9_-]{1,64}$/), sourceSchema.describe("One source of text."))
          .describe("The sources by name."),
      })
      .describe("The text to learn from."),
    train: trainSchema.describe("The training loop."),
    precision: precisionSchema,
    seed: seedSchema.default(1).describe(SEED_DESCRIPTION),
  })
  .superRefine(({ model, data, train }, context) => {
    const problem = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    if (Object.keys(data.sources).length === 0) problem(["data", "sources"], "give at least one source");
    if (train.sequenceTokens > model.init.maxTokens) {
      const limit = `the model's maxTokens ${model.init.maxTokens}`;
      problem(["train", "sequenceTokens"], `${train.sequenceTokens} is more than ${limit}`);
    }
    if (model.startOrigin !== undefined && model.start === undefined) {
      problem(["model", "startOrigin"], "speaks of a model to start from: give model.start, too");
    }
    if (train.maskShare && !train.prefixShare) {
      problem(["train", "maskShare"], "masks tokens of prefixes: give train.prefixShare, too");
    }
    const weighed = Object.entries(data.sources).find(([, { finalWeight }]) => finalWeight !== undefined);
    if (weighed && train.schedule !== "trapezoid") {
      problem(
        ["data", "sources", weighed[0], "finalWeight"],
        "needs train.schedule trapezoid, which has a final phase",
      );
    }
    if (train.schedule === "trapezoid" && train.warmupSteps + train.decaySteps > train.steps) {
      const parts = `warmupSteps ${train.warmupSteps} and decaySteps ${train.decaySteps}`;
      problem(["train", "steps"], `${train.steps} steps have no room for ${parts}`);
    }
  });

export type PretrainRecipe = z.output<typeof pretrainRecipeSchema>;
export type PretrainSource = z.output<typeof sourceSchema>;
export type PretrainSettings = z.output<typeof trainSchema>;

/**
 * Reads a recipe for pretraining, applies overrides ("train.steps=200"), fills in what it leaves out, checks it and makes its paths absolute
 * (they are relative to the recipe's folder, those of sources to data.folder). Throws a UserErrors that lists all problems.
 */
export async function readPretrainRecipe(file: string, overrides: readonly string[] = []): Promise<PretrainRecipe> {
  const values = await readRecipeValues(file, overrides);
  await fillIn(values, file);
  const recipe = checkSchema(pretrainRecipeSchema, values, file);
  const from = (folder: string, path: string) => (isAbsolute(path) ? path : resolve(folder, path));
  recipe.model.tokenizer = from(dirname(file), recipe.model.tokenizer);
  if (recipe.model.start !== undefined) recipe.model.start = from(dirname(file), recipe.model.start);
  recipe.data.folder = from(dirname(file), recipe.data.folder);
  for (const source of Object.values(recipe.data.sources)) source.path = from(recipe.data.folder, source.path);
  return recipe;
}

/** Values that follow from others: sizes and tokenizer from model.start, the parts of the schedule from the number of steps. */
async function fillIn(values: RecipeValues, file: string): Promise<void> {
  const groupOf = (value: unknown) => (typeof value === "object" && value !== null ? (value as RecipeValues) : {});
  const model = groupOf(values.model);
  const train = groupOf(values.train);
  const { steps, schedule = "trapezoid" } = train;
  if (typeof steps === "number") {
    train.warmupSteps ??= Math.ceil(steps / 20);
    train.decaySteps ??= schedule === "trapezoid" ? Math.ceil(0.4 * steps) : 0;
  }
  if (typeof model.start !== "string") return;
  model.tokenizer ??= model.start;
  model.init ??= await sizesOfStart(resolve(dirname(file), model.start), file);
}

async function sizesOfStart(start: string, file: string): Promise<ModelSizes> {
  if (!existsSync(start)) throw new UserErrors(problemsTitle(file, 1), [missingModelProblem("model.start", start)]);
  const { config, directory, source } = await openCheckpoint(start);
  await source.close();
  return sizesOf(readSpec(config, directory));
}

/** A recipe as YAML, with every value. */
export function pretrainRecipeText(recipe: PretrainRecipe): string {
  return stringifyYaml(recipe);
}

/** The paths of a recipe that do not exist, one problem each. */
export function missingPretrainPaths({ model, data }: PretrainRecipe): string[] {
  const problems = existsSync(model.tokenizer) ? [] : [missingModelProblem("model.tokenizer", model.tokenizer)];
  if (model.start !== undefined && !existsSync(model.start)) {
    problems.push(missingModelProblem("model.start", model.start));
  }
  for (const [name, { path }] of Object.entries(data.sources)) {
    if (!existsSync(path)) problems.push(missingDataProblem(`data.sources.${name}.path`, path));
  }
  return problems;
}
