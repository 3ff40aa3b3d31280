import { z } from "zod";
import { dropoutSetting, lora, lowRankSettings } from "./lora.ts";
import { loraElsewhere } from "./lora-elsewhere.ts";
import { savedLora, startLora } from "./lora-files.ts";
import { sumOverTargets } from "./lora-modules.ts";
import { attachLora, attachMagnitudes, loraGroups } from "./lora-weights.ts";
import type { TuningMethod } from "./method.ts";

const { rank, alpha, ...others } = lowRankSettings;
const schema = z.strictObject({
  method: z
    .literal("dora")
    .describe("What is trained: low-rank products added to frozen weights, and the lengths of the rows of their sums."),
  rank,
  alpha,
  dropout: dropoutSetting.default(0),
  ...others,
});

/**
 * The tuning method `dora` (Liu et al. 2024, arXiv 2402.09353): LoRA gives the direction of each row of a weight, a trained magnitude its
 * length. The base stays frozen, in any storage.
 */
export const dora = {
  ...lora,
  name: "dora",
  schema,
  likeMethod: "lora",
  resolve: (settings, modelType) => ({ ...lora.resolve({ ...settings, method: "lora" }, modelType), method: "dora" }),
  addedNumbers: (settings, spec) =>
    sumOverTargets(settings.targets, spec, ({ rows, columns }) => settings.rank * (rows + columns) + rows),
  // Beyond LoRA's the sum of both products, before its columns are scaled.
  keptNumbers: (settings, spec) =>
    lora.keptNumbers({ ...settings, method: "lora" }, spec) +
    sumOverTargets(settings.targets, spec, ({ rows }) => rows),
  async attach(model, settings, seed) {
    if (settings.start === undefined) {
      attachLora(model, settings, seed);
      await attachMagnitudes(model);
    } else await startLora(model, settings, settings.start);
    return loraGroups(model, settings.learningRateRatio);
  },
  saved: {
    ...savedLora,
    ggufAdapter: { because: "has trained lengths of rows, which llama.cpp's adapters cannot hold" },
  },
  elsewhere: loraElsewhere(true),
} satisfies TuningMethod<z.output<typeof schema>>;
