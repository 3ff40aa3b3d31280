import { z } from "zod";
import { adapterSchema } from "../adapters/methods.ts";
import { DATASET_FORMATS } from "../data/dataset.ts";
import { FAMILY_NAMES } from "../models/families/registry.ts";
import { LARGEST } from "../models/spec.ts";
import { count, decodeSchema, MOST, normalizeSchema, promptSchema, share, storageSchema } from "./answer-schema.ts";
import { combinationProblems } from "./combinations.ts";

/** Sizes of a model made from nothing. The descriptions in this file are what `cre recipe show` prints: one plain sentence for each key. */
export const initSchema = z.strictObject({
  family: z.enum(FAMILY_NAMES).default("llama").describe("Model family whose architecture the new model has."),
  width: count(LARGEST.width).describe("Width of a token's hidden state (C)."),
  layers: count(LARGEST.layers).describe("Number of layers."),
  heads: count(LARGEST.heads).describe("Query heads of a layer (H)."),
  keyValueHeads: count(LARGEST.keyValueHeads).describe("Key and value heads of a layer (G); divides heads."),
  headWidth: count(LARGEST.headWidth).optional().describe("Width of one head (D); without it width / heads."),
  feedForward: count(LARGEST.feedForward).describe("Width of the feed-forward network (F)."),
  maxTokens: count(LARGEST.maxTokens).default(1024).describe("Longest sequence the model is meant for, in tokens."),
  tiedHead: z.boolean().default(true).describe("Whether the output head shares its weights with the embedding."),
  normEpsilon: z.number().positive().default(1e-5).describe("Added to the mean square in RMSNorm."),
  rotaryBase: z.number().positive().default(10_000).describe("Base of the rotary embedding's wavelengths."),
  positions: z
    .enum(["rotary", "alibi"])
    .optional()
    .describe("How positions enter attention; without it the family's way (alibi: Baichuan2-13B)."),
  vocabularyMultiple: count(LARGEST.vocabularySize)
    .optional()
    .describe(
      "Pads the vocabulary with unused rows to a multiple of this, as ChatGLM2 and Qwen do; without it no padding.",
    ),
});

const modelSchema = z.strictObject({
  path: z
    .string()
    .optional()
    .describe(
      "Model folder to start from (Hugging Face layout), relative to the recipe; without path and init the embedded base model.",
    ),
  init: initSchema.optional().describe("Sizes of a new model with random weights, instead of path."),
  tokenizer: z
    .string()
    .optional()
    .describe("Tokenizer file, or a folder with one; without it the model folder's own. Required with init."),
  storage: storageSchema,
});

const trainSchema = z.strictObject({
  epochs: z
    .number()
    .positive()
    .max(MOST.epochs)
    .describe("Passes over the training rows; part of a pass is allowed (0.5)."),
  batchExamples: count(MOST.examples).describe(
    "Examples that fit into memory in one forward and backward pass; see onePass.",
  ),
  accumulation: count(MOST.passes)
    .default(1)
    .describe("An update (a step) learns this many times batchExamples examples."),
  learningRate: z.number().positive().describe("Highest learning rate."),
  schedule: z
    .enum(["cosine", "linear", "constant"])
    .default("cosine")
    .describe("How the learning rate falls after the warm-up."),
  warmup: share.default(0.05).describe("Share of all steps over which the learning rate rises from 0."),
  finalLearningRate: share.default(0).describe("Learning rate at the end, as a share of the highest."),
  beta1: z.number().min(0).lt(1).default(0.9).describe("AdamW's decay of the mean gradient."),
  beta2: z.number().min(0).lt(1).default(0.999).describe("AdamW's decay of the mean squared gradient."),
  epsilon: z.number().positive().default(1e-8).describe("Added to AdamW's denominator."),
  weightDecay: z.number().min(0).default(0).describe("AdamW's decoupled weight decay."),
  clipNorm: z.number().min(0).default(1).describe("Largest norm of the whole gradient; 0 does not clip."),
  promptLoss: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      "Weight of a prompt token's loss against an answer token's; 0 trains on the answer only, as CRE-LLM does.",
    ),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("Share of the target probability that is spread over the whole vocabulary."),
  dropout: z.number().min(0).lt(1).default(0).describe("Dropout on the residual stream of the model."),
  tokenNoise: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("Share of prompt tokens replaced by random ones while training."),
  embeddingNoise: z
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe(
      "Noise on the embeddings while training, up to this / √(tokens · width) (NEFTune; 5 is usual); 0 adds none.",
    ),
  layerDecay: z
    .number()
    .positive()
    .max(1)
    .default(1)
    .describe("Learning rate of a layer as a share of the one above it; 1 trains all layers at the same rate."),
  severalRelations: z
    .enum(["joined", "separate"])
    .default("joined")
    .describe(
      "A row with several relations gives one answer that joins them (as CRE-LLM does), or one training row for each.",
    ),
  averageFrom: share
    .default(1)
    .describe(
      "Share of all steps after which the mean of the weights is validated and kept; 1 keeps the weights themselves.",
    ),
  validateEvery: z
    .number()
    .min(0)
    .max(MOST.epochs)
    .default(1)
    .describe("Epochs between validations; 0 never validates."),
  validationRows: z
    .int()
    .min(0)
    .default(0)
    .describe("Validate on this many rows at most, chosen by the seed; 0 uses all."),
  validationShare: z
    .number()
    .min(0)
    .max(0.5)
    .default(0)
    .describe(
      "Share of the training rows that are held out, by whole sentences, to validate on where the data has no validation rows; 0 holds out none.",
    ),
  negatives: z
    .number()
    .min(0)
    .max(MOST.negatives)
    .default(0)
    .describe(
      "Rows of no relation to learn too, as a share of the labelled rows: pairs of entities of a training sentence without a label in either direction (docs/documents.md); 0 draws none.",
    ),
  joinedSentences: share
    .default(0)
    .describe(
      "Share of the rows that are learnt once more beside another row's sentence, and the same share again with a pair across both sentences, which has no relation (docs/documents.md); 0 joins none.",
    ),
  keepBest: z
    .enum(["paper", "micro"])
    .default("micro")
    .describe("Metric that decides which weights are the best (docs/metrics.md)."),
  patience: z
    .int()
    .min(0)
    .max(MOST.steps)
    .default(0)
    .describe("Validations in a row without a better one after which training ends early; 0 always trains to the end."),
  checkpointSeconds: z.number().positive().max(MOST.seconds).default(120).describe("Seconds between checkpoints."),
  recompute: z
    .boolean()
    .default(false)
    .describe(
      "Compute activations inside layers again in the backward pass instead of keeping them: less memory, more time.",
    ),
  sharePrefixes: z
    .boolean()
    .default(true)
    .describe(
      "Compute the beginning that several examples of a pass share only once: the instruction, the sentence of several pairs.",
    ),
  onePass: z
    .boolean()
    .default(true)
    .describe(
      "Compute all examples of a step in one pass where memory allows, else in few; false: batchExamples in each. The loss is the same.",
    ),
});

const distillSchema = z.strictObject({
  goldWeight: share
    .default(0.5)
    .describe("Share of a training row's own labels in its target; the teachers' distribution has the rest."),
  temperature: z
    .number()
    .min(0.01)
    .max(100)
    .default(1)
    .describe("The teachers' probabilities are raised to 1 / temperature: above 1 they are less sure."),
  leastProbability: z
    .number()
    .min(0)
    .lt(1)
    .default(0.01)
    .describe("Labels to which the teachers give less are no part of a target."),
});

/** What of a teacher's answers a student learns, where a recipe says nothing. */
export const DISTILL_DEFAULTS: z.output<typeof distillSchema> = distillSchema.parse({});

const dataSchema = z.strictObject({
  path: z
    .string()
    .optional()
    .describe("Data folder with a train split and its labels, relative to the recipe; --data DIR replaces it."),
  format: z
    .enum(["auto", ...DATASET_FORMATS])
    .default("auto")
    .describe("Format of the data folder; auto looks at its file names and finds chinese-nre and jsonl."),
  badRows: z
    .enum(["stop", "skip"])
    .default("stop")
    .describe("A row that cannot be used stops everything, or is skipped, counted and listed."),
  normalize: normalizeSchema,
});

/** What products compute in; the same key in recipes for training and for pretraining. */
export const precisionSchema = z
  .enum(["auto", "bfloat16", "float32"])
  .default("auto")
  .describe(
    "Number format of matrix products; auto: bfloat16 where the processor multiplies it (AMX, AVX-512 BF16), else float32.",
  );

export const seedSchema = z.int().min(0).max(0xffffffff);
export const SEED_DESCRIPTION = "Seed of everything random: the same seed gives the same run.";

export const recipeSchema = z
  .strictObject({
    model: modelSchema.describe("The model to start from."),
    data: dataSchema.describe("The rows to learn from."),
    prompt: promptSchema.describe("How a row becomes prompt and answer."),
    adapter: adapterSchema.describe("How the model is tuned."),
    train: trainSchema.describe("The training loop."),
    tasks: z
      .array(z.enum(["relations", "mentions"]))
      .refine((tasks) => tasks.includes("relations") && new Set(tasks).size === tasks.length, {
        error: "expected relations, or relations and mentions, each once",
      })
      .default(["relations"])
      .describe("What is learnt: relations; with mentions also to find the entities of a sentence (docs/mentions.md)."),
    decode: decodeSchema
      .prefault({})
      .describe("How relations are chosen; used by validation, evaluation and extraction."),
    distill: distillSchema
      .optional()
      .describe(
        "Soft targets of cre distill; a recipe without it gets the defaults there, and cre train does not read it.",
      ),
    precision: precisionSchema,
    seed: seedSchema.default(1).describe(SEED_DESCRIPTION),
  })
  .superRefine((recipe, context) => {
    for (const { path, message } of combinationProblems(recipe)) context.addIssue({ code: "custom", path, message });
  });

export type Recipe = z.output<typeof recipeSchema>;
export type InitSettings = z.output<typeof initSchema>;
export type TrainSettings = z.output<typeof trainSchema>;
export type DistillSettings = z.output<typeof distillSchema>;
