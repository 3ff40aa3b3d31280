import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { plainTable } from "../base/plain-table.ts";
import { type ExtractSpeed, manyEntities, measureExtraction } from "../bench/extract.ts";
import { openDataset } from "../data/dataset.ts";
import type { SplitName } from "../data/split.ts";
import { openRun } from "../runs/run.ts";
import { showLoading } from "./loading.ts";
import { wholeNumber } from "./options.ts";
import { readSplit } from "./splits.ts";
import { print, progress, warn } from "./terminal.ts";

interface ExtractFlags {
  data?: string;
  split: SplitName;
  rows: number;
  entities: number;
  sentences: number;
  rounds: number;
  json?: boolean;
}

export function addBenchExtractCommand(bench: Command): void {
  bench
    .command("extract")
    .description(
      "extraction with a run: rows/s, tokens that are computed, what all pairs of a sentence cost against one",
    )
    .argument("<run>", "run folder")
    .option("--data <dir>", "data folder (default: the one that the run was trained on)")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).default("test"))
    .option("--rows <n>", "rows to extract at most", wholeNumber, 512)
    .option("--entities <n>", "entities of a sentence whose pairs are all asked", wholeNumber, 10)
    .option("--sentences <n>", "such sentences", wholeNumber, 8)
    .option("--rounds <n>", "rounds, of which the median counts", wholeNumber, 5)
    .option("--json", "print JSON")
    .action(extract);
}

async function extract(directory: string, options: ExtractFlags): Promise<void> {
  const { rows, entities, sentences, rounds } = options;
  if (Math.min(rows, sentences, rounds) < 1) throw new UserError("--rows, --sentences and --rounds are at least 1.");
  if (entities < 2) throw new UserError("--entities is at least 2.");
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading() });
  try {
    const { recipe, labels, extractor } = run;
    const path = options.data ?? recipe.data.path;
    if (path === undefined) throw new UserError(`${directory}: does not know where its data is: give --data DIR.`);
    const dataset = await openDataset(path, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
    const examples = (await readSplit(dataset, options.split, recipe.data.badRows)).slice(0, rows);
    if (examples.length === 0) throw new UserError(`${path}: its ${options.split} split has no rows to extract.`);
    const { one, all, orderedPairs } = manyEntities(examples, sentences, entities, labels);
    const bar = progress("round", 3 * (rounds + 1));
    let done = 0;
    const measured: [string, ExtractSpeed][] = [];
    try {
      for (const [name, given] of [
        ["rows of the data", examples],
        ["sentences, one pair each", one],
        [`the same, ${all.length / sentences} questions for ${orderedPairs / sentences} ordered pairs`, all],
      ] as const) {
        measured.push([name, await measureExtraction(extractor, given, rounds, () => bar.update(++done))]);
      }
    } finally {
      bar.stop();
    }
    const seconds = ([, { rows: count, rowsPerSecond }]: [string, ExtractSpeed]) => count / rowsPerSecond;
    const ratio = seconds(measured[2]) / seconds(measured[1]);
    if (options.json) {
      const speeds = Object.fromEntries(["rows", "one", "all"].map((key, i) => [key, measured[i][1]]));
      return print(
        `${JSON.stringify({ run: directory, backend: extractor.arithmetic, ...speeds, orderedPairs: orderedPairs / sentences, ratio })}\n`,
      );
    }
    await print(`${table(measured)}\n\nall pairs of a sentence take ${ratio.toFixed(1)} times as long as one\n`);
  } finally {
    await run.close();
  }
}

function table(measured: readonly [string, ExtractSpeed][]): string {
  return plainTable(
    ["", "rows", "rows/s", "prompt tokens a row", "computed", "passes", "answer tokens a row", "accepted from drafts"],
    measured.map(([name, speed]) => [
      name,
      `${speed.rows}`,
      speed.rowsPerSecond.toFixed(1),
      speed.promptTokens.toFixed(1),
      speed.computedTokens.toFixed(1),
      `${speed.passes}`,
      speed.generatedTokens.toFixed(1),
      speed.acceptedTokens.toFixed(1),
    ]),
  );
}
