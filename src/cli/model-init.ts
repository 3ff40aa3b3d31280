import { dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { isSamePath } from "../base/output.ts";
import { openBackend } from "../compute/open.ts";
import { checkModelFolder } from "../export/output-folder.ts";
import { initDecoder } from "../models/init.ts";
import { parameterCount } from "../models/layer.ts";
import { saveDecoder } from "../models/save.ts";
import { specFromSizes } from "../models/sizes.ts";
import type { ModelSizes } from "../models/spec.ts";
import { TINY_MODELS } from "../models/tiny.ts";
import { readRecipe } from "../recipe/read.ts";
import { expectRoom, weightNeed } from "../runs/memory.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import { positiveNumber, wholeNumber } from "./options.ts";
import { say, warn } from "./terminal.ts";

interface InitFlags {
  output: string;
  overwrite?: boolean;
  dtype: "F32" | "F16" | "BF16";
  family?: string;
  tokenizer?: string;
  layers?: number;
  deviation?: number;
  seed?: number;
}

export function addInitCommand(model: Command): void {
  model
    .command("init")
    .description("make a model with random weights: from a recipe's model.init, or a tiny one of a family")
    .argument("[recipe]", "recipe file")
    .requiredOption("--output <dir>", "model folder to write")
    .option("--overwrite", "replace a model that is there")
    .addOption(new Option("--family <name>", "a tiny model instead of a recipe's").choices(Object.keys(TINY_MODELS)))
    .option("--tokenizer <path>", "tokenizer file or model folder (default: the recipe's)")
    .option("--layers <n>", "number of layers, in place of the recipe's or the tiny model's", wholeNumber)
    .option("--deviation <d>", "deviation of the weights (default: 0.02, with --family 0.2)", positiveNumber)
    .addOption(new Option("--dtype <type>", "element type").choices(["F32", "F16", "BF16"]).default("BF16"))
    .option("--seed <n>", "seed (default: the recipe's, or 1)", wholeNumber)
    .action(init);
}

interface Choice {
  sizes: ModelSizes;
  tokenizer: string;
  seed: number;
  where: string;
}

/** The model to make, from the recipe or the name of a tiny model; exactly one of them must be given. */
async function chosen(recipeFile: string | undefined, flags: InitFlags): Promise<Choice> {
  if ((recipeFile === undefined) === (flags.family === undefined)) {
    throw new UserError("cre model init: expected a recipe file or --family, one of the two.");
  }
  if (flags.family !== undefined) {
    if (!flags.tokenizer) throw new UserError("cre model init --family: expected --tokenizer, the model's vocabulary.");
    const sizes = TINY_MODELS[flags.family];
    return { sizes, tokenizer: flags.tokenizer, seed: 1, where: `--family ${flags.family}` };
  }
  const recipe = await readRecipe(recipeFile as string);
  const { init: sizes, tokenizer } = recipe.model;
  if (!sizes || !tokenizer)
    throw new UserError(`${recipeFile}: has no model.init, expected the sizes of a model to make.`);
  return { sizes, tokenizer: flags.tokenizer ?? tokenizer, seed: recipe.seed, where: "model.init" };
}

async function init(recipeFile: string | undefined, flags: InitFlags): Promise<void> {
  const { sizes, tokenizer: path, seed, where } = await chosen(recipeFile, flags);
  // The folder of the tokenizer may become that of the model.
  const writes =
    (await isSamePath(flags.output, path)) || (await isSamePath(flags.output, dirname(path))) ? "weights" : "model";
  await checkModelFolder(flags.output, { overwrite: flags.overwrite, read: [], writes });
  const tokenizer = await openModelTokenizer(path, { modelType: sizes.family });
  const spec = specFromSizes({ ...sizes, layers: flags.layers ?? sizes.layers }, tokenizer, where);
  expectRoom(where, weightNeed(spec, "float32"), warn);
  const backend = openBackend("float32", warn);
  try {
    const model = await initDecoder(backend, spec, flags.seed ?? seed, {
      storage: "float32",
      trainable: false,
      deviation: flags.deviation ?? (flags.family ? 0.2 : 0.02),
    });
    await copyTokenizer(path, flags.output);
    await saveDecoder(model, flags.output, { dtype: flags.dtype });
    say(`${resolve(flags.output)}: ${parameterCount(spec).toLocaleString("en")} parameters.`);
  } finally {
    await backend.close();
  }
}
