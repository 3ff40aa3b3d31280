import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { plainTable } from "../base/plain-table.ts";
import { type BatchWay, measureBatches } from "../bench/batches.ts";
import { SHAPES, type ShapeName } from "../bench/shapes.ts";
import { openBackend } from "../compute/open.ts";
import { openDataset } from "../data/dataset.ts";
import { readRecipe } from "../recipe/read.ts";
import { openRenderer } from "../runs/open.ts";
import { encodeExamples } from "../runs/train-run.ts";
import { wholeNumber } from "./options.ts";
import { readSplit } from "./splits.ts";
import { print, progress, say, warn } from "./terminal.ts";

interface BatchesFlags {
  data?: string;
  tokenizer?: string;
  shape: ShapeName;
  layers?: number;
  passes: number;
  rounds: number;
  json?: boolean;
}

export function addBatchesCommand(bench: Command): void {
  bench
    .command("batches")
    .description(
      "what packing, leaving out rows without answers and shared prompt beginnings save on a recipe's batches",
    )
    .argument("<recipe>", "recipe whose data, prompts and batch size are used")
    .option("--data <dir>", "folder of the data, instead of the recipe's data.path")
    .option("--tokenizer <path>", "a tokenizer of the llama family, instead of the model's: needs no model")
    .addOption(new Option("--shape <name>", "model shape, random weights").choices(Object.keys(SHAPES)).default("0.4b"))
    .option("--layers <n>", "other number of layers", wholeNumber)
    .option("--passes <n>", "forward and backward passes", wholeNumber, 4)
    .option("--rounds <n>", "times that every pass is measured, the quickest counts", wholeNumber, 3)
    .option("--json", "print JSON")
    .action(batches);
}

async function batches(recipeFile: string, options: BatchesFlags): Promise<void> {
  const given = await readRecipe(recipeFile);
  if (options.data) given.data.path = resolve(options.data);
  if (options.tokenizer) given.model.tokenizer = resolve(options.tokenizer);
  if (!given.data.path) throw new UserError(`${recipeFile}: data.path is missing.`, { hint: "--data DIR says where." });
  if (options.passes < 1 || options.rounds < 1) throw new UserError("--passes and --rounds are at least 1.");
  const dataset = await openDataset(given.data.path, { format: given.data.format, normalize: given.data.normalize });
  const opened = await openRenderer(given, dataset.labels, options.tokenizer ? "llama" : undefined);
  const rows = await readSplit(dataset, "train", given.data.badRows);
  const { encoded } = encodeExamples(opened, rows);
  const backend = openBackend("auto", warn);
  try {
    say(`${backend.description}; ${encoded.length.toLocaleString("en")} training examples of ${given.data.path}`);
    const bar = progress("pass", null);
    const { shape, layers, passes, rounds } = options;
    const { recipe } = opened;
    const measured = { shape, layers, passes, rounds, settings: recipe.train, seed: recipe.seed };
    const ways = await measureBatches(backend, encoded, measured, (done, all) => bar.update(done, `of ${all}`)).finally(
      () => bar.stop(),
    );
    if (options.json) await print(`${JSON.stringify({ ...options, ways })}\n`);
    else await print(table(ways, recipe.train.batchExamples, options));
  } finally {
    await backend.close();
  }
}

function table(ways: readonly BatchWay[], batchExamples: number, { shape, passes }: BatchesFlags): string {
  const whole = (value: number) => Math.round(value).toLocaleString("en");
  const rows = ways.map((way) => [
    way.name,
    whole(way.rows / passes),
    whole(way.headRows / passes),
    ((way.seconds / passes) * 1000).toFixed(0),
    `${(ways[0].seconds / way.seconds).toFixed(2)}×`,
  ]);
  const head = ["each line with those above it", "rows", "head rows", "ms", "speed"];
  return `${shape}, ${batchExamples} examples a pass, means of ${passes} passes:\n${plainTable(head, rows)}\n`;
}
