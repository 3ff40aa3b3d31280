import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../base/errors.ts";
import type { WeightStorage } from "../compute/backend.ts";
import {
  type CorpusCounts,
  type CorpusOptions,
  emptyCounts,
  extractFile,
  extractLines,
  noRows,
} from "../extract/corpus.ts";
import { openRun } from "../runs/run.ts";
import { showLoading, storageOption } from "./loading.ts";
import { duration, noProgress, print, progress, say, warn } from "./terminal.ts";

interface ExtractOptions {
  output?: string;
  minScore?: number;
  method?: "labels" | "generate";
  storage?: WeightStorage;
  overwrite?: boolean;
  strict?: boolean;
}

export function parseShare(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError("expected a number from 0 to 1.");
  return value;
}

export function addExtractCommand(program: Command): void {
  program
    .command("extract")
    .description("find relations: JSONL of {sentence, head, tail} in, the same rows with predictions out, in order")
    .argument("<run>", "run folder")
    .argument("[input]", "JSONL file; - or nothing reads standard input", "-")
    .option("--output <file>", "file to write; repeat an interrupted call to continue it (default: standard output)")
    .option("--overwrite", "replace an existing output")
    .option("--min-score <p>", "leave out predictions with a lower probability", parseShare)
    .addOption(
      new Option("--method <name>", "how labels are chosen (default: the recipe's)").choices(["labels", "generate"]),
    )
    .addOption(storageOption("the recipe's"))
    .option("--strict", "exit with 1 when any row was bad")
    .action(extract);
}

async function extract(directory: string, input: string, options: ExtractOptions): Promise<void> {
  if (input !== "-" && !existsSync(input)) throw new UserError(`${input}: does not exist, expected JSONL rows.`);
  if (options.output && input === "-") {
    throw new UserError("--output needs an input file, since a pipe cannot be read again after an interruption.", {
      hint: "Write to standard output instead: cre extract RUN - > OUTPUT",
    });
  }
  if (options.output && existsSync(options.output) && !options.overwrite) {
    throw new UserError(`${options.output}: exists already.`, { hint: "Give --overwrite to replace it." });
  }
  const run = await openRun(directory, {
    onNotice: warn,
    onLoad: showLoading(),
    storage: options.storage,
    decode: options.method ? { method: options.method } : {},
  });
  const started = performance.now();
  // Rows on a terminal are progress enough, and a bar would run into them.
  const bar = !options.output && process.stdout.isTTY ? noProgress : progress("extract", null);
  const corpus: CorpusOptions = {
    minProbability: options.minScore,
    onRows: (counts) => bar.update(counts.rows, `${Math.round(rate(counts, started))} rows/s  ${counts.bad} bad`),
    onBadRow: (line, problem) => bar.line(`bad row, line ${line}: ${problem}`),
  };
  try {
    const counts = emptyCounts();
    if (options.output) {
      const { recipe, extractor, folder } = run;
      const trainedAt = existsSync(folder.done) ? (await stat(folder.done)).mtimeMs : null;
      const job = JSON.stringify([recipe, extractor.settings, options.minScore ?? 0, resolve(directory), trainedAt]);
      Object.assign(counts, await extractFile(extractor, input, options.output, job, corpus));
    } else {
      const source = input === "-" ? process.stdin : input;
      for await (const lines of extractLines(run.extractor, source, counts, { ...corpus, windowRows: 256 })) {
        await print(lines.map((line) => `${line}\n`).join(""));
      }
    }
    bar.stop();
    if (counts.rows === 0) throw noRows(input === "-" ? "standard input" : input);
    say(summary(counts, (performance.now() - started) / 1000));
    if (options.strict && counts.bad > 0) throw new UserError(`${counts.bad} of ${counts.rows} rows were bad.`);
  } finally {
    bar.stop();
    await run.close();
  }
}

const rate = (counts: CorpusCounts, started: number) =>
  (counts.rows - counts.resumed) / ((performance.now() - started) / 1000);

function summary(counts: CorpusCounts, seconds: number): string {
  const { rows, extracted, bad, truncated, unparsed, unknownLabels, resumed } = counts;
  const parts = [`${rows} rows: ${extracted} extracted, ${bad} bad`];
  if (resumed > 0) parts.push(`${resumed} done before`);
  if (truncated > 0) parts.push(`${truncated} shortened`);
  if (unparsed > 0) parts.push(`${unparsed} answers not fully readable`);
  if (unknownLabels > 0) parts.push(`${unknownLabels} labels outside the schema`);
  return `${parts.join(", ")}; ${duration(seconds)}`;
}
