import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { plainTable } from "../base/plain-table.ts";
import { compareInt8, type Int8Comparison } from "../bench/int8.ts";
import { openDataset } from "../data/dataset.ts";
import type { SplitName } from "../data/split.ts";
import { openRun } from "../runs/run.ts";
import { showLoading } from "./loading.ts";
import { wholeNumber } from "./options.ts";
import { readSplit } from "./splits.ts";
import { megabytes, print, progress, warn } from "./terminal.ts";

interface Int8Flags {
  data?: string;
  split: SplitName;
  rows: number;
  rounds: number;
  json?: boolean;
}

export function addBenchInt8Command(bench: Command): void {
  bench
    .command("int8")
    .description("extraction with 8-bit products against float ones, in turns: time, memory, labels that agree")
    .argument("<run>", "run folder")
    .option("--data <dir>", "data folder (default: the one that the run was trained on)")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).default("test"))
    .option("--rows <n>", "rows to extract at most", wholeNumber, 512)
    .option("--rounds <n>", "rounds, of which the median counts", wholeNumber, 5)
    .option("--json", "print JSON")
    .action(compare);
}

async function compare(directory: string, options: Int8Flags): Promise<void> {
  const { rows, rounds } = options;
  if (Math.min(rows, rounds) < 1) throw new UserError("--rows and --rounds are at least 1.");
  const opened = (precision: "float" | "int8") =>
    openRun(directory, { onNotice: warn, onLoad: showLoading(), decode: { precision } });
  const float = await opened("float");
  try {
    const int8 = await opened("int8");
    try {
      const { recipe, labels } = float;
      const path = options.data ?? recipe.data.path;
      if (path === undefined) throw new UserError(`${directory}: does not know where its data is: give --data DIR.`);
      const dataset = await openDataset(path, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
      const examples = (await readSplit(dataset, options.split, recipe.data.badRows)).slice(0, rows);
      if (examples.length === 0) throw new UserError(`${path}: its ${options.split} split has no rows to extract.`);
      const bar = progress("round", rounds + 1);
      let done = 0;
      const result = await compareInt8({ float, int8 }, examples, rounds, () => bar.update(++done)).finally(bar.stop);
      const backend = int8.extractor.arithmetic;
      await print(options.json ? `${JSON.stringify({ run: directory, backend, ...result })}\n` : `${table(result)}\n`);
    } finally {
      await int8.close();
    }
  } finally {
    await float.close();
  }
}

function table(result: Int8Comparison): string {
  const { rows, sameLabels, probabilityDifference, gain } = result;
  const lines = (["float", "int8"] as const).map((name) => {
    const { seconds, processorSeconds } = result[name];
    return [
      name,
      ...[rows / seconds, rows / processorSeconds].map((speed) => speed.toFixed(1)),
      megabytes(result.bytes[name]),
    ];
  });
  const { largest, mean } = probabilityDifference;
  return [
    plainTable(["products", "rows/s", "rows a processor second", "memory of the model"], lines),
    "",
    `8-bit products take 1/${gain.toFixed(2)} of the processor time of float ones`,
    `${sameLabels} of ${rows} rows have the same labels (${((100 * sameLabels) / rows).toFixed(1)} %); ` +
      `probabilities differ by ${mean.toFixed(4)} in the mean, ${largest.toFixed(4)} at most`,
  ].join("\n");
}
