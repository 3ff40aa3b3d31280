import { existsSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { stringify as stringifyYaml } from "yaml";
import { z } from "zod";
import { checkSchema } from "../base/schema.ts";
import { readRecipeValues } from "../recipe/read.ts";
import { initSchema } from "../recipe/schema.ts";

const count = z.int().min(1);
const share = z.number().min(0).max(1);

const sourceSchema = z.strictObject({
  /** A file, or the folder of a data set for "relations"; relative to data.folder. */
  path: z.string(),
  /**
   * text: documents separated by blank lines, .gz or not; jsonl: one object with "text" per line, .gz or not; relations: the distinct
   * training sentences of a relation data set, without those that repeat a sentence of another split.
   */
  format: z.enum(["text", "jsonl", "relations"]).default("text"),
  /** Share of the training tokens, relative to the weights of the other sources. */
  weight: z.number().positive(),
  /** Share of the documents that are held out for validation. */
  heldOut: share.lt(1),
  /** Where the text comes from and what allows its use; printed on the model's card. */
  origin: z.string().default(""),
  licence: z.string().default(""),
});

const trainSchema = z.strictObject({
  /** Rows of one packed sequence: the longest context of a token. */
  sequenceTokens: count.max(1 << 16),
  /** Sequences of one forward pass, and passes of one update. */
  passSequences: count,
  accumulation: count,
  /** Updates in all. */
  steps: count,
  learningRate: z.number().positive(),
  /** trapezoid: constant after the warm-up, then linear over decaySteps; cosine: falls from the end of the warm-up. */
  schedule: z.enum(["trapezoid", "cosine"]),
  warmupSteps: z.int().min(0),
  /** Length of the trapezoid's final phase; `--decay-now` starts it earlier. */
  decaySteps: z.int().min(0),
  /** The learning rate at the end, as a share of the highest. */
  finalLearningRate: share,
  beta1: share.lt(1),
  beta2: share.lt(1),
  epsilon: z.number().positive(),
  weightDecay: z.number().min(0),
  /** Largest norm of the whole gradient; 0 does not clip. */
  clipNorm: z.number().min(0),
  /** Steps between validations, with one after the last step; 0 never validates. */
  validateEverySteps: z.int().min(0),
  /** Seconds between checkpoints. */
  checkpointSeconds: z.number().positive(),
  /** Compute the activations inside layers again in the backward pass instead of keeping them. */
  recompute: z.boolean(),
});

export const pretrainRecipeSchema = z
  .strictObject({
    model: z.strictObject({
      init: initSchema,
      /** A folder or file with the tokenizer. */
      tokenizer: z.string(),
      storage: z.enum(["float32", "bfloat16"]),
    }),
    data: z.strictObject({
      /** The folder that the sources' paths are relative to. */
      folder: z.string(),
      sources: z.record(z.string().regex(/^[A-Za-z0-9_-]{1,64}$/), sourceSchema),
    }),
    train: trainSchema,
    /** Number format of matrix products; auto: bfloat16 where the processor has AMX, float32 otherwise. */
    precision: z.enum(["auto", "bfloat16", "float32"]).default("auto"),
    seed: z.int().min(0).max(0xffffffff),
  })
  .superRefine(({ model, data, train }, context) => {
    const problem = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    if (Object.keys(data.sources).length === 0) problem(["data", "sources"], "give at least one source");
    if (train.sequenceTokens > model.init.maxTokens) {
      const limit = `the model's maxTokens ${model.init.maxTokens}`;
      problem(["train", "sequenceTokens"], `${train.sequenceTokens} is more than ${limit}`);
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
 * Reads a recipe for pretraining, applies overrides ("train.steps=200"), checks it and makes its paths absolute (they are relative to the
 * recipe's folder, those of sources to data.folder). Throws a UserErrors that lists all problems.
 */
export async function readPretrainRecipe(file: string, overrides: readonly string[] = []): Promise<PretrainRecipe> {
  const recipe = checkSchema(pretrainRecipeSchema, await readRecipeValues(file, overrides), file);
  const from = (folder: string, path: string) => (isAbsolute(path) ? path : resolve(folder, path));
  recipe.model.tokenizer = from(dirname(file), recipe.model.tokenizer);
  recipe.data.folder = from(dirname(file), recipe.data.folder);
  for (const source of Object.values(recipe.data.sources)) source.path = from(recipe.data.folder, source.path);
  return recipe;
}

/** A recipe as YAML, with every value. */
export function pretrainRecipeText(recipe: PretrainRecipe): string {
  return stringifyYaml(recipe);
}

/** The paths of a recipe that do not exist, one problem each. */
export function missingPretrainPaths({ model, data }: PretrainRecipe): string[] {
  const problems = existsSync(model.tokenizer) ? [] : [`model.tokenizer: ${model.tokenizer} does not exist`];
  for (const [name, { path }] of Object.entries(data.sources)) {
    if (!existsSync(path)) problems.push(`data.sources.${name}.path: ${path} does not exist`);
  }
  return problems;
}
