import { z } from "zod";
import { LARGEST, PROMPT_ATTENTIONS } from "../models/spec.ts";
import { chatTemplates } from "../prompts/chat-template.ts";
import { promptStyles } from "../prompts/relation-prompt.ts";

// The parts of a recipe that turn a row into an answer; browsers read them, too.

/** Bounds far above every use: a number beyond one is a slip, and below them the numbers of steps and tokens stay exact. */
export const MOST = {
  epochs: 1e6,
  examples: 1e6,
  passes: 1e6,
  negatives: 10,
  steps: 1e9,
  batchTokens: 1 << 22,
  seconds: 1e9,
} as const;

export const count = (most: number) => z.int().min(1).max(most);
export const share = z.number().min(0).max(1);

/** How the matrices of a model are kept. */
export const storageSchema = z
  .enum(["float32", "bfloat16", "int8", "nf4"])
  .default("bfloat16")
  .describe(
    "How the layers' matrices are kept in memory; int8 and nf4 (QLoRA) only under an adapter, embedding and head stay bfloat16.",
  );

export type ModelStorage = z.output<typeof storageSchema>;

/** What is done to the texts of a row. */
export const normalizeSchema = z
  .enum(["none", "nfc", "nfkc"])
  .optional()
  .describe(
    "Unicode normalisation of sentence, head and tail: nfc joins combining marks, nfkc also folds full width; without it none.",
  );

export const promptSchema = z.strictObject({
  style: z
    .string()
    .default("paper")
    .describe(`How the question is put: ${Object.keys(promptStyles).join(", ")}.`),
  template: z
    .string()
    .default("default")
    .describe(
      `Chat template around it: ${Object.keys(chatTemplates).join(", ")}, or auto for the one of the model's family.`,
    ),
  attention: z
    .enum(PROMPT_ATTENTIONS)
    .optional()
    .describe(
      "What a prompt's tokens see of the prompt: causal, those before them; both, all of it (the answer stays causal); without it causal.",
    ),
  maxPromptTokens: count(LARGEST.maxTokens)
    .default(1024)
    .describe("Longest prompt in tokens; a longer one has its sentence shortened around the entities."),
  maxAnswerTokens: count(LARGEST.maxTokens)
    .default(512)
    .describe("Longest answer in tokens with its end token; a longer one is an error."),
});

export const decodeSchema = z.strictObject({
  method: z
    .enum(["labels", "generate"])
    .default("labels")
    .describe("labels: choose among the data's labels by likelihood; generate: greedy text, parsed."),
  bothDirections: z
    .boolean()
    .default(false)
    .describe("Ask for (tail, head) too and average both through the declared inverse labels; method labels only."),
  furtherRelations: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      "Give a further relation when its probability is at least this share of the best one's; 1 gives one relation.",
    ),
  noRelationWeight: z
    .union([z.literal("auto"), z.number().positive()])
    .default(1)
    .describe('Factor on the probability of "no relation" before choosing; auto fits it on validation rows.'),
  maxBatchTokens: count(MOST.batchTokens)
    .default(8192)
    .describe("Tokens of one forward pass at most, while extracting."),
  companion: z
    .union([z.enum(["auto", "none"]), share])
    .default("auto")
    .describe(
      "Weight of the linear companion's probabilities in a mixture with the model's: auto, fitted on validation rows and used where they gain by it; 0 keeps it as a floor for evaluations only; none does not train it.",
    ),
  precision: z
    .enum(["auto", "int8", "float"])
    .default("auto")
    .describe(
      "Products of the layers while extracting: int8, 8-bit weights and activations; float, the recipe's precision; auto, int8 where it is known to be faster with the same F1, today nowhere (docs/recipes.md).",
    ),
});

/** What of a run's recipe is needed to answer with its weights; other keys are left out. */
export const answeringSchema = z.object({
  model: z.object({ storage: storageSchema }),
  data: z.object({ normalize: normalizeSchema }),
  prompt: promptSchema,
  adapter: z.object({ method: z.string() }),
  decode: decodeSchema.prefault({}),
});

/** A recipe as far as answering needs it. */
export type AnsweringRecipe = z.output<typeof answeringSchema>;
export type DecodeSettings = z.output<typeof decodeSchema>;
