import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { recipeSchema } from "../recipe/schema.ts";
import { axolotlConfig } from "./axolotl.ts";

function configOf(changes: Record<string, Record<string, unknown>> = {}) {
  const recipe = recipeSchema.parse({
    model: { path: "base", storage: "nf4", ...changes.model },
    data: { path: "data" },
    prompt: { ...changes.prompt },
    adapter: { method: "lora", rank: 8, alpha: 16, dropout: 0.05, targets: ["q_proj"], ...changes.adapter },
    train: { epochs: 2.5, batchExamples: 4, accumulation: 2, learningRate: 2e-4, ...changes.train },
    seed: 9,
  });
  const text = axolotlConfig(recipe, ["q_proj"], 1536);
  return { text, config: parse(text) };
}

describe("axolotl.yaml", () => {
  it("has the values of the recipe and the rows of the hand-over", () => {
    const { text, config } = configOf();
    expect(config).toMatchObject({
      base_model: "base",
      datasets: [{ path: "rows.jsonl", ds_type: "json", type: null }],
      adapter: "qlora",
      load_in_4bit: true,
      lora_r: 8,
      lora_alpha: 16,
      lora_dropout: 0.05,
      lora_target_modules: ["q_proj"],
      peft_use_dora: false,
      peft_use_rslora: false,
      sequence_len: 1536,
      num_epochs: 2.5,
      micro_batch_size: 4,
      gradient_accumulation_steps: 2,
      learning_rate: 2e-4,
      lr_scheduler: "cosine",
      bf16: true,
      seed: 9,
    });
    expect(config).not.toHaveProperty("loraplus_lr_ratio");
    expect(text).not.toContain("Not in Axolotl");
    // An empty value: Axolotl takes the rows as they are then.
    expect(text).toContain("    type:\n");
  });

  it("names what Axolotl cannot train", () => {
    const train = { labelSmoothing: 0.1, tokenNoise: 0.2, averageFrom: 0.5, schedule: "constant", embeddingNoise: 5 };
    const adapter = { method: "dora", scaling: "rslora", learningRateRatio: 16 };
    const { text, config } = configOf({ model: { storage: "float32" }, prompt: { attention: "both" }, adapter, train });
    expect(text).toContain(
      "# Not in Axolotl: prompt.attention, train.labelSmoothing, train.tokenNoise, train.averageFrom.\n",
    );
    expect(config).toMatchObject({
      adapter: "lora",
      load_in_4bit: false,
      peft_use_dora: true,
      peft_use_rslora: true,
      loraplus_lr_ratio: 16,
      lr_scheduler: "constant_with_warmup",
      neftune_noise_alpha: 5,
    });
  });
});
