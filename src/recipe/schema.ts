import { z } from "zod";
import { adapterSchema } from "../adapters/methods.ts";
import { FAMILY_NAMES } from "../models/families/registry.ts";
import { combinationProblems } from "./combinations.ts";

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** Sizes of a model made from nothing. */
export const initSchema = z.strictObject({
  family: z.enum(FAMILY_NAMES).default("llama"),
  width: count, // C
  layers: count,
  heads: count, // H
  keyValueHeads: count, // G
  /** D; by default the width divided by the heads. */
  headWidth: count.optional(),
  feedForward: count, // F
  maxTokens: count.default(1024),
  tiedHead: z.boolean().default(true),
  normEpsilon: z.number().positive().default(1e-5),
  rotaryBase: z.number().positive().default(10_000),
  /** alibi: Baichuan2-13B. */
  positions: z.enum(["rotary", "alibi"]).optional(),
  /** The vocabulary is filled up with rows that have no token to a multiple of this, as ChatGLM2's and Qwen's are. */
  vocabularyMultiple: count.optional(),
});

const modelSchema = z.strictObject({
  /** A model folder to start from; without it `init` gives the sizes of a model from nothing. */
  path: z.string().optional(),
  init: initSchema.optional(),
  /** A folder or file with the tokenizer; the model folder's own by default. */
  tokenizer: z.string().optional(),
  /** How the layers' matrices are kept. int8 and nf4 (QLoRA) need an adapter; embedding and head stay bfloat16 then. */
  storage: z.enum(["float32", "bfloat16", "int8", "nf4"]).default("bfloat16"),
});

const trainSchema = z.strictObject({
  epochs: z.number().positive(),
  /** Examples of one forward pass; `accumulation` passes make one update. */
  batchExamples: count,
  accumulation: count.default(1),
  learningRate: z.number().positive(),
  schedule: z.enum(["cosine", "linear", "constant"]).default("cosine"),
  /** Share of all steps over which the learning rate rises from 0. */
  warmup: share.default(0.05),
  /** The learning rate at the end, as a share of the highest. */
  finalLearningRate: share.default(0),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  weightDecay: z.number().min(0).default(0),
  /** Largest norm of the whole gradient; 0 does not clip. */
  clipNorm: z.number().min(0).default(1),
  /** Weight of a prompt token's loss against an answer token's; 0 trains on the answer only, as the paper does. */
  promptLoss: z.number().min(0).max(1).default(0),
  labelSmoothing: z.number().min(0).lt(1).default(0),
  /** Dropout on the residual stream (full training). */
  dropout: z.number().min(0).lt(1).default(0),
  /** Share of prompt tokens that are replaced by random ones while training; 0 for pretrained models. */
  tokenNoise: z.number().min(0).lt(1).default(0),
  /** Several relations of one row: one answer that joins them (the paper), or one training row each. */
  severalRelations: z.enum(["joined", "separate"]).default("joined"),
  /**
   * From this share of all steps on, the mean of the weights is validated and kept; 1 keeps the weights themselves. Use it with the schedule
   * "constant", or with a finalLearningRate at which the weights still move.
   */
  averageFrom: share.default(1),
  /** Epochs between validations; 0 never validates. */
  validateEvery: z.number().min(0).default(1),
  /** Most rows of a validation, chosen by the seed; 0 uses all. */
  validationRows: z.int().min(0).default(0),
  /** The metric of paper.md by which the best weights are kept. */
  keepBest: z.enum(["paper", "micro"]).default("micro"),
  /** Seconds between checkpoints. */
  checkpointSeconds: z.number().positive().default(120),
  /** Recompute the activations inside layers in the backward pass instead of keeping them. */
  recompute: z.boolean().default(false),
  /** Compute the common beginning of several examples of a pass once: the instruction, the sentence of several pairs. */
  sharePrefixes: z.boolean().default(true),
});

const decodeSchema = z.strictObject({
  /** labels: choose among the schema's labels by likelihood; generate: greedy text, parsed. */
  method: z.enum(["labels", "generate"]).default("labels"),
  /** Average each pair with its mirror image through the declared inverse labels. */
  bothDirections: z.boolean().default(false),
  /** A second and further relation is given when its probability is at least this share of the best one's; 1 gives one relation. */
  furtherRelations: z.number().min(0).max(1).default(1),
  /** Factor on the probability of "no relation" before choosing; tuned on validation rows. */
  noRelationWeight: z.number().positive().default(1),
  maxBatchTokens: count.default(8192),
});

export const recipeSchema = z
  .strictObject({
    model: modelSchema,
    data: z.strictObject({
      path: z.string().optional(),
      format: z.enum(["auto", "chinese-nre", "jsonl"]).default("auto"),
      badRows: z.enum(["stop", "skip"]).default("stop"),
    }),
    prompt: z.strictObject({
      style: z.string().default("paper"),
      /** A chat template, or "auto" for the one of the model's family; the run's recipe then holds its name. */
      template: z.string().default("default"),
      maxPromptTokens: count.default(1024),
      maxAnswerTokens: count.default(512),
    }),
    adapter: adapterSchema,
    train: trainSchema,
    decode: decodeSchema.prefault({}),
    /** Numbers of the products; auto: bfloat16 where the processor has AMX, float32 otherwise. */
    precision: z.enum(["auto", "bfloat16", "float32"]).default("auto"),
    seed: z.int().min(0).max(0xffffffff).default(1),
  })
  .superRefine((recipe, context) => {
    for (const { path, message } of combinationProblems(recipe)) context.addIssue({ code: "custom", path, message });
  });

export type Recipe = z.output<typeof recipeSchema>;
export type InitSettings = z.output<typeof initSchema>;
export type TrainSettings = z.output<typeof trainSchema>;
export type DecodeSettings = z.output<typeof decodeSchema>;
