import { type Command, Option } from "commander";
import { checkOutputFolder } from "../base/output.ts";
import { type ConvertTarget, convertExamples } from "../data/convert.ts";
import { noSplits, openDataset } from "../data/dataset.ts";
import { fetchDataset, type PublishedDataset } from "../data/fetch.ts";
import { formatStatistics } from "../data/format-statistics.ts";
import type { SplitName } from "../data/split.ts";
import { datasetStatistics } from "../data/statistics.ts";
import { alpacaRow, promptStyle } from "../prompts/relation-prompt.ts";
import { addDataAuditCommand } from "./data-audit.ts";
import { readSplit } from "./splits.ts";
import { megabytes, print, printText, say, warn } from "./terminal.ts";

export function addDataCommands(program: Command): void {
  const data = program.command("data").description("inspect, audit, convert and fetch data");
  data
    .command("stats")
    .description("counts, labels, duplicates, leakage between splits, lengths")
    .argument("<dir>", "data folder")
    .option("--json", "print JSON")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(async (directory: string, options: { json?: boolean; skipBad?: boolean }) => {
      const dataset = await openDataset(directory);
      for (const notice of dataset.notices) warn(notice);
      if (dataset.splitNames.length === 0) throw noSplits(dataset);
      const splits = [];
      for (const name of dataset.splitNames) {
        splits.push({ name, ...(await dataset.split(name, { onBadRow: options.skipBad ? "skip" : "stop" })) });
      }
      const statistics = datasetStatistics(splits, dataset.labels);
      if (options.json) await print(`${JSON.stringify(statistics, null, 2)}\n`);
      else await printText(`${formatStatistics(statistics)}\n`);
    });
  data
    .command("convert")
    .description("write a split in another format to standard output")
    .argument("<dir>", "data folder")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).makeOptionMandatory())
    .addOption(
      new Option("--format <name>", "format to write")
        .choices(["alpaca", "jsonl", "chinese-nre"])
        .makeOptionMandatory(),
    )
    .option("--prompt <style>", "prompt style of alpaca rows", "paper")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(convert);
  data
    .command("fetch")
    .description("download a published set, checked by sha256")
    .addArgument(data.createArgument("<name>", "which set").choices(["finre", "sanwen"]))
    .option("--output <dir>", "folder to write (default: data/NAME)")
    .option("--from <dir>", "copy from a folder instead of downloading")
    .action(async (name: PublishedDataset, options: { output?: string; from?: string }) => {
      const target = options.output ?? `data/${name}`;
      await checkOutputFolder(target);
      await fetchDataset(name, target, {
        from: options.from,
        onProgress: (file) => say(`  ${file.name}  ${megabytes(file.sizeBytes)}  ${file.origin}`),
      });
      say(`${name} is in ${target}.`);
    });
  addDataAuditCommand(data);
}

interface ConvertOptions {
  split: SplitName;
  format: ConvertTarget["format"];
  prompt: string;
  skipBad?: boolean;
}

async function convert(directory: string, options: ConvertOptions): Promise<void> {
  const style = promptStyle(options.prompt);
  const dataset = await openDataset(directory);
  for (const notice of dataset.notices) warn(notice);
  const examples = await readSplit(dataset, options.split, options.skipBad ? "skip" : "stop");
  const target: ConvertTarget =
    options.format === "alpaca"
      ? { format: "alpaca", render: (example) => alpacaRow(style, example) }
      : { format: options.format };
  for await (const line of convertExamples(examples, target)) await print(`${line}\n`);
}
