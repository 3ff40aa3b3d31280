import { z } from "zod";
import { FAMILY_NAMES } from "../models/families/registry.ts";

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** Sizes of a model made from nothing. */
export const initSchema = z.strictObject({
  family: z.enum(FAMILY_NAMES).default("llama"),
  width: count, // C
  layers: count,
  heads: count, // H
  keyValueHeads: count, // G
  /** D; the width shared by the heads unless told. */
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
  /** A model folder to start from; without it `init` says what to make from nothing. */
  path: z.string().optional(),
  init: initSchema.optional(),
  /** A folder or file with the tokenizer; the model folder's own by default. */
  tokenizer: z.string().optional(),
  /** How the layers' matrices are kept; int8 and nf4 (QLoRA) only under an adapter, embedding and head stay bfloat16 then. */
  storage: z.enum(["float32", "bfloat16", "int8", "nf4"]).default("bfloat16"),
});

const adapterSchema = z.discriminatedUnion("method", [
  z.strictObject({ method: z.literal("full") }),
  z.strictObject({
    method: z.literal("lora"),
    rank: count.default(8),
    alpha: z.number().positive().default(32),
    dropout: z.number().min(0).lt(1).default(0.1),
    /** Modules by name, "all", or "auto" for those that the family is usually trained on, whose names the run's recipe then holds. */
    targets: z.union([z.enum(["auto", "all"]), z.array(z.string()).min(1)]).default("auto"),
  }),
]);

const trainSchema = z.strictObject({
  epochs: z.number().positive(),
  /** Examples of one forward pass, and how many passes make one update. */
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
   * From this share of all steps on, the mean of the weights is what is validated and kept; 1 keeps the weights themselves. Goes with the
   * schedule "constant", or a finalLearningRate that lets the weights still move.
   */
  averageFrom: share.default(1),
  /** Validate every so many epochs; 0 never. */
  validateEvery: z.number().min(0).default(1),
  /** Validate on at most so many rows, chosen by the seed; 0 takes all. */
  validationRows: z.int().min(0).default(0),
  /** The metric of paper.md by which the best weights are kept. */
  keepBest: z.enum(["paper", "micro"]).default("micro"),
  /** Save a checkpoint every so many seconds. */
  checkpointSeconds: z.number().positive().default(120),
  /** Keep activations inside layers (false) or compute them again in the backward pass (true). */
  recompute: z.boolean().default(false),
  /** Compute what several examples of a pass begin with once: the instruction, the sentence of several pairs. */
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
      /** A chat template, or "auto" for the one of the model's family, whose name the run's recipe then holds. */
      template: z.string().default("default"),
      maxPromptTokens: count.default(1024),
      maxAnswerTokens: count.default(512),
    }),
    adapter: adapterSchema,
    train: trainSchema,
    decode: decodeSchema.prefault({}),
    /** Numbers of the products: bfloat16 where the processor has AMX, float32 otherwise, unless told. */
    precision: z.enum(["auto", "bfloat16", "float32"]).default("auto"),
    seed: z.int().min(0).max(0xffffffff).default(1),
  })
  .superRefine((recipe, context) => {
    if (!recipe.model.path && !recipe.model.init) {
      context.addIssue({
        code: "custom",
        path: ["model"],
        message: "give model.path (a folder) or model.init (sizes)",
      });
    }
    if (recipe.model.init && !recipe.model.path && !recipe.model.tokenizer) {
      context.addIssue({ code: "custom", path: ["model", "tokenizer"], message: "model.init needs a tokenizer" });
    }
    if (recipe.model.init && recipe.model.path) {
      context.addIssue({ code: "custom", path: ["model"], message: "give model.path or model.init, not both" });
    }
    const { storage } = recipe.model;
    if (recipe.adapter.method === "full" && (storage === "int8" || storage === "nf4")) {
      context.addIssue({
        code: "custom",
        path: ["model", "storage"],
        message: `${storage} cannot be trained: expected "float32" or "bfloat16" with adapter.method "full", or adapter.method "lora"`,
      });
    }
    if (recipe.model.init && !recipe.model.path && recipe.adapter.method !== "full") {
      context.addIssue({
        code: "custom",
        path: ["adapter", "method"],
        message: 'a model from nothing is trained whole: expected "full"',
      });
    }
  });

export type Recipe = z.output<typeof recipeSchema>;
export type InitSettings = z.output<typeof initSchema>;
export type TrainSettings = z.output<typeof trainSchema>;
export type DecodeSettings = z.output<typeof decodeSchema>;
