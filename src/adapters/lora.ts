import { z } from "zod";
import { loraElsewhere } from "./lora-elsewhere.ts";
import { ggufAdapterOfLora, savedLora, startLora } from "./lora-files.ts";
import { AUTO_TARGETS, defaultTargets, loraProblems, sumOverTargets } from "./lora-modules.ts";
import { attachLora, loraGroups } from "./lora-weights.ts";
import { startSetting, type TuningMethod } from "./method.ts";

/** The settings that all methods with low-rank weights have, without the dropout. */
export const lowRankSettings = {
  rank: z.int().min(1).default(8).describe("Rank of the low-rank products (R)."),
  alpha: z.number().positive().default(32).describe("Scale of the low-rank products, together with scaling."),
  scaling: z
    .enum(["lora", "rslora"])
    .default("lora")
    .describe("The low-rank products count alpha / rank times (lora) or alpha / √rank times (rslora)."),
  learningRateRatio: z
    .number()
    .min(1)
    .max(1000)
    .default(1)
    .describe("Learning rate of the matrices that start at zero (b) over that of the others (a); LoRA+ takes 16."),
  targets: z
    .union([z.enum([AUTO_TARGETS, "all"]), z.array(z.string()).min(1)])
    .default(AUTO_TARGETS)
    .describe("Modules with a low-rank product: names, all, or auto for those usual in the model's family."),
  start: startSetting,
};

export const dropoutSetting = z.number().min(0).lt(1).describe("Dropout on the input of the low-rank products.");

const { rank, alpha, ...others } = lowRankSettings;
const schema = z.strictObject({
  method: z.literal("lora").describe("What is trained: low-rank products added to frozen weights."),
  rank,
  alpha,
  dropout: dropoutSetting.default(0.1),
  ...others,
});

/** The tuning method `lora`: the base stays frozen, in any storage. */
export const lora = {
  name: "lora",
  schema,
  // QLoRA (Dettmers et al. 2023) with 7B and 13B.
  usualLearningRate: 2e-4,
  storages: ["float32", "bfloat16", "int8", "nf4"],
  startsFrom: "trained model",
  resolve: (settings, modelType) =>
    settings.targets === AUTO_TARGETS ? { ...settings, targets: defaultTargets(modelType) } : settings,
  problems: loraProblems,
  trainsOfBase: () => false,
  addedNumbers: (settings, spec) =>
    sumOverTargets(settings.targets, spec, ({ rows, columns }) => settings.rank * (rows + columns)),
  // Each module reads an input of its own where dropout makes it another one.
  keptNumbers: ({ targets, rank, dropout }, spec) =>
    sumOverTargets(targets, spec, ({ columns }) => rank + (dropout > 0 ? columns : 0)),
  async attach(model, settings, seed) {
    if (settings.start === undefined) attachLora(model, settings, seed);
    else await startLora(model, settings, settings.start);
    return loraGroups(model, settings.learningRateRatio);
  },
  saved: { ...savedLora, ggufAdapter: ggufAdapterOfLora },
  elsewhere: loraElsewhere(false),
} satisfies TuningMethod<z.output<typeof schema>>;
