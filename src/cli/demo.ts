import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import picocolors from "picocolors";
import { UserError } from "../base/errors.ts";
import { hasFastBackend } from "../compute/open.ts";
import { mentionsOf } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import { removeRun } from "../runs/remove-run.ts";
import { openRun } from "../runs/run.ts";
import { runFolder } from "../runs/run-folder.ts";
import { evaluateRun } from "./evaluate.ts";
import { showLoading } from "./loading.ts";
import { collect } from "./options.ts";
import { duration, percent, print, say, warn } from "./terminal.ts";
import { trainNewRun } from "./train.ts";

/** The package's own folder, above dist/cli or src/cli. */
const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const BASE = "Fine-tuning the embedded base model (models/base-zh) with LoRA";
/** On the reference backend, fine-tuning the base model would take many hours. */
const SMALL = "Neither the native nor the WebAssembly backend is available: training a small model from random weights";

/** A file in the run that tells that cre demo made it, and may replace it. */
const MARKER = "demo.json";

export function addDemoCommand(program: Command): void {
  program
    .command("demo")
    .description("fine-tune on the demonstration set, evaluate, extract")
    .option("--run <dir>", "run folder; an earlier demo in it is replaced", "runs/demo")
    .option("--set <key=value>", "replace one value of its recipe, for example train.epochs=2", collect, [])
    .action(async (options: { run: string; set: string[] }) => {
      const started = performance.now();
      const heading = (text: string) => say(`\n${picocolors.bold(picocolors.cyan(text))}`);
      const isFast = hasFastBackend();
      heading(`1. ${isFast ? BASE : SMALL} on the demonstration set (demo/, not a benchmark)`);
      const recipeFile = join(PACKAGE, "recipes", isFast ? "demo.yaml" : "demo-small.yaml");
      await removeOldDemo(options.run);
      const onBegun = () => writeFileSync(join(options.run, MARKER), `${JSON.stringify({ madeBy: "cre demo" })}\n`);
      await trainNewRun(options.run, { file: recipeFile, overrides: options.set }, onBegun);
      heading("2. Evaluating it on sentences and entity pairs it has not seen");
      await evaluateRun(options.run, { split: "test" });
      heading("3. Extracting relations from fresh sentences");
      await showExtraction(options.run, join(PACKAGE, "demo", "fresh.jsonl"));
      heading(`Done in ${duration((performance.now() - started) / 1000)}. Next, with your own data:`);
      say(
        "  train.jsonl, valid.jsonl, test.jsonl of {sentence, head, tail, relations} and labels.json in a folder, then",
      );
      say("  npx cre data stats DIR");
      say("  npx cre train --data DIR --run runs/mine");
      say("  npx cre evaluate runs/mine                                  metrics and runs/mine/report.html");
      say("  npx cre extract runs/mine rows.jsonl --output found.jsonl");
      say("  npx cre export runs/mine --to peft|merged|gguf");
      say(
        `  npx cre serve ${options.run}${" ".repeat(Math.max(1, 45 - options.run.length))}a page to try it: http://127.0.0.1:8765`,
      );
    });
}

/** Empties a folder that an earlier demo left. Throws a UserError for any other run, and for a demo that is running. */
async function removeOldDemo(directory: string): Promise<void> {
  if (!existsSync(runFolder(directory).recipe)) return;
  if (!existsSync(join(directory, MARKER))) {
    throw new UserError(`${directory}: holds a run that cre demo did not make; it is left as it is.`, {
      hint: "Give another folder with --run DIR, or remove this one.",
    });
  }
  await removeRun(directory, [MARKER]);
}

async function showExtraction(directory: string, file: string): Promise<void> {
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading() });
  try {
    const examples = [];
    for await (const row of readJsonl(file)) if (row.example) examples.push(row.example);
    const extractions = await run.extract(examples);
    for (const [i, { sentence, head, tail, headSpan, tailSpan }] of examples.entries()) {
      const marks = [
        ...mentionsOf(sentence, head, headSpan).map((span) => ({ ...span, paint: picocolors.green })),
        ...mentionsOf(sentence, tail, tailSpan).map((span) => ({ ...span, paint: picocolors.magenta })),
      ];
      const { predictions } = extractions[i];
      const found = predictions.map(
        ({ relation, probability }) => `${picocolors.bold(relation)} ${percent(probability)} %`,
      );
      await print(`  ${painted(sentence, marks)}\n`);
      await print(`    (${picocolors.green(head)}, ${found.join("; ")}, ${picocolors.magenta(tail)})\n`);
    }
  } finally {
    await run.close();
  }
}

function painted(text: string, marks: { start: number; end: number; paint: (text: string) => string }[]): string {
  let out = "";
  let at = 0;
  for (const { start, end, paint } of marks.sort((a, b) => a.start - b.start)) {
    if (start < at) continue;
    out += text.slice(at, start) + paint(text.slice(start, end));
    at = end;
  }
  return out + text.slice(at);
}
