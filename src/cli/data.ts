import type { Command } from "commander";
import { checkOutputFolder } from "../base/output.ts";
import { noSplits, openDataset } from "../data/dataset.ts";
import { fetchDataset, type PublishedDataset } from "../data/fetch.ts";
import { formatStatistics } from "../data/format-statistics.ts";
import { datasetStatistics } from "../data/statistics.ts";
import { addDataAuditCommand } from "./data-audit.ts";
import { addDataConvertCommand } from "./data-convert.ts";
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
  addDataConvertCommand(data);
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
