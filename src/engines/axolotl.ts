import { stringify } from "yaml";
import type { Recipe } from "../recipe/schema.ts";
import { ROWS_FILE } from "./rows.ts";

export const AXOLOTL_FILE = "axolotl.yaml";

type LowRankSettings = Extract<Recipe["adapter"], { method: "lora" | "dora" }>;

/** Settings that Axolotl's trainer has no counterpart for, by their key in the recipe. */
function left(recipe: Recipe): string[] {
  const { prompt, train } = recipe;
  const given: Record<string, boolean> = {
    "prompt.attention": prompt.attention === "both",
    "train.promptLoss": train.promptLoss > 0 && train.promptLoss < 1,
    "train.labelSmoothing": train.labelSmoothing > 0,
    "train.dropout": train.dropout > 0,
    "train.tokenNoise": train.tokenNoise > 0,
    "train.layerDecay": train.layerDecay < 1,
    "train.averageFrom": train.averageFrom < 1,
    distill: recipe.distill !== undefined,
  };
  return Object.keys(given).filter((key) => given[key]);
}

/**
 * The same training as an Axolotl configuration over the same rows, with the keys of Axolotl 0.19. Its trainer shuffles by its own random numbers and takes the mean over
 * the tokens of each pass, so that its losses are not ours; its adapter is.
 */
export function axolotlConfig(recipe: Recipe, targetModules: readonly string[], maxTokens: number): string {
  const { model, train, adapter } = recipe;
  const { rank, alpha, dropout, scaling, learningRateRatio } = adapter as LowRankSettings;
  const is4bit = model.storage === "nf4";
  const isFloat = recipe.precision === "float32";
  const config = {
    base_model: "base",
    load_in_4bit: is4bit,
    datasets: [{ path: ROWS_FILE, ds_type: "json", type: null }],
    val_set_size: 0,
    sequence_len: maxTokens,
    sample_packing: false,
    adapter: is4bit ? "qlora" : "lora",
    lora_r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    ...(learningRateRatio > 1 ? { loraplus_lr_ratio: learningRateRatio } : {}),
    lora_target_modules: [...targetModules],
    peft_use_rslora: scaling === "rslora",
    peft_use_dora: adapter.method === "dora",
    num_epochs: train.epochs,
    micro_batch_size: train.batchExamples,
    gradient_accumulation_steps: train.accumulation,
    optimizer: "adamw_torch",
    adam_beta1: train.beta1,
    adam_beta2: train.beta2,
    adam_epsilon: train.epsilon,
    weight_decay: train.weightDecay,
    max_grad_norm: train.clipNorm,
    learning_rate: train.learningRate,
    lr_scheduler: train.schedule === "constant" ? "constant_with_warmup" : train.schedule,
    warmup_ratio: train.warmup,
    ...(train.embeddingNoise > 0 ? { neftune_noise_alpha: train.embeddingNoise } : {}),
    gradient_checkpointing: train.recompute,
    bf16: !isFloat,
    tf32: false,
    seed: recipe.seed,
    logging_steps: 1,
    save_strategy: "epoch",
    output_dir: "axolotl-out",
  };
  const lost = left(recipe);
  const notes = [
    "The same rows and settings for Axolotl: run `axolotl train axolotl.yaml` in this folder,",
    "then `cre train --collect axolotl-out --run RUN`. It shuffles the rows by its own random numbers.",
    ...(lost.length > 0 ? [`Not in Axolotl: ${lost.join(", ")}.`] : []),
  ];
  return `${notes.map((line) => `# ${line}\n`).join("")}${stringify(config, { nullStr: "" })}`;
}
