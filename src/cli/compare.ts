import { join } from "node:path";
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { writeFileAtomic } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import { checkOutputFile, expectNotRead } from "../base/output.ts";
import type { SplitName } from "../data/split.ts";
import { changedRowsJson, comparisonJson, renderComparison } from "../evaluate/compare-report.ts";
import { compareRuns, type RunComparison } from "../runs/compare-runs.ts";
import { answersPrinter } from "./answers-printer.ts";
import { wholeNumber } from "./options.ts";
import { filesIn, runsOf } from "./run-list.ts";
import { print, printText, say } from "./terminal.ts";

interface CompareOptions {
  data?: string;
  split: SplitName;
  draws: number;
  seed: number;
  rows?: string;
  json?: boolean;
  skipBad?: boolean;
}

export function addCompareCommand(program: Command): void {
  program
    .command("compare")
    .description("compare two runs on the same rows: paired bootstrap over sentences, changed rows, relations")
    .argument("<run-a>", "run folder, or run folders of several seeds with commas between")
    .argument("<run-b>", "run folder, or run folders of several seeds with commas between")
    .option("--data <dir>", "data folder (default: the one that the runs were trained on)")
    .option("--split <name>", 'which split: "train", "valid" (or "validation") or "test"', splitName, "test")
    .option("--draws <n>", "draws of the bootstrap", wholeNumber, 10_000)
    .option("--seed <n>", "seed of the bootstrap", wholeNumber, 1)
    .option("--rows <file>", "write every changed row to a JSONL file")
    .option("--json", "print JSON")
    .option("--skip-bad", "count and list bad rows instead of stopping")
    .action(compare);
}

function splitName(text: string): SplitName {
  const name = text === "validation" ? "valid" : text;
  if (name === "train" || name === "valid" || name === "test") return name;
  throw new InvalidArgumentError("expected train, valid or test.");
}

async function compare(a: string, b: string, options: CompareOptions): Promise<void> {
  const [ofA, ofB] = [runsOf(a), runsOf(b)];
  const { data, split, draws, seed, rows } = options;
  if (rows !== undefined) {
    await checkOutputFile(rows);
    const runs = [...ofA, ...ofB].flatMap((run) => [run, join(run, "predictions")]);
    const folders = [...runs, ...(data === undefined ? [] : [data])];
    await expectNotRead(rows, (await Promise.all(folders.map(filesIn))).flat());
  }
  const printer = answersPrinter();
  const onBadRow = options.skipBad ? "skip" : undefined;
  const comparison = await compareRuns(ofA, ofB, {
    ...{ data, split, onBadRow, bootstrap: { draws, seed }, onEvent: printer.onEvent },
  }).finally(printer.close);
  const { examples } = comparison;
  if (rows !== undefined) {
    const lines = changedRowsJson(comparison, examples).map((row) => `${writeMembers(new Map(), { ...row })}\n`);
    await writeFileAtomic(rows, lines.join(""));
    say(`${lines.length} changed rows: ${rows}`);
  }
  if (options.json) await print(`${JSON.stringify(toJson(comparison), null, 2)}\n`);
  else await printText(textOf(comparison));
}

function toJson({ runs, data, split, ...comparison }: RunComparison) {
  return { ...comparisonJson(comparison), runs, data, split };
}

function textOf(comparison: RunComparison): string {
  const { runs, data, split, examples, rows } = comparison;
  return renderComparison(comparison, {
    ...{ names: runs, title: `${data}, ${split}`, examples, rows: rows.a[0] },
    colour: process.stdout.isTTY,
  });
}
