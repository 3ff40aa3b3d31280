#!/usr/bin/env node
import { createRequire } from "node:module";
import { Command } from "commander";
import { printable } from "./base/errors.ts";
import { addBenchCommands } from "./cli/bench.ts";
import { addCalibrateCommand } from "./cli/calibrate.ts";
import { addCompareCommand } from "./cli/compare.ts";
import { addDataCommands } from "./cli/data.ts";
import { addDemoCommand } from "./cli/demo.ts";
import { addDistillCommand } from "./cli/distill.ts";
import { addDoctorCommand } from "./cli/doctor.ts";
import { addEvaluateCommands } from "./cli/evaluate.ts";
import { addExportCommand } from "./cli/export.ts";
import { addExtractCommand } from "./cli/extract.ts";
import { buildBeforeComputing } from "./cli/first-build.ts";
import { expectExpandedPaths } from "./cli/home-paths.ts";
import { addLabelCommand } from "./cli/label.ts";
import { addModelCommands } from "./cli/model.ts";
import { expectPaths } from "./cli/options.ts";
import { addPromptCommand } from "./cli/prompt.ts";
import { addQueueCommands } from "./cli/queue.ts";
import { addRecipeCommands } from "./cli/recipe.ts";
import { report } from "./cli/report.ts";
import { addServeCommand } from "./cli/serve.ts";
import { finishOutput, surviveClosedStreams } from "./cli/terminal.ts";
import { addTokenizerCommands } from "./cli/tokenizer.ts";
import { addTrainCommand } from "./cli/train.ts";
import { addTuneCommand } from "./cli/tune.ts";
import { addWorkerCommand } from "./cli/worker.ts";

/** The exit code of a process that a signal ended is this and the number of the signal. */
const FIRST_SIGNAL_CODE = 128;
const { version: VERSION } = createRequire(import.meta.url)("../package.json") as { version: string };

/**
 * Runs the command line. It throws nothing and returns the exit code: 0 done, 1 the user's mistake, 2 a fault of ours, 129, 130 or 143 stopped
 * by SIGHUP, SIGINT or SIGTERM with the state saved, 141 ended early because the reader of standard output went away.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("cre")
    .description("Fine-tune open language models to extract relations from Chinese text.")
    .version(VERSION, "-V, --version", "print the version")
    .showHelpAfterError("(cre --help shows all commands)")
    .configureOutput({ writeErr: (text) => process.stderr.write(printable(text)) })
    .hook("preAction", (_, command) => expectPaths(command))
    .exitOverride();
  addTrainCommand(program);
  addEvaluateCommands(program);
  addCalibrateCommand(program);
  addCompareCommand(program);
  addTuneCommand(program);
  addDistillCommand(program);
  addExtractCommand(program);
  addExportCommand(program);
  addQueueCommands(program);
  addWorkerCommand(program);
  addServeCommand(program);
  addLabelCommand(program);
  addDataCommands(program);
  addRecipeCommands(program);
  addPromptCommand(program);
  addModelCommands(program);
  addTokenizerCommands(program);
  addBenchCommands(program);
  addDemoCommand(program);
  addDoctorCommand(program);
  program.hook("preAction", (_, command) => buildBeforeComputing(command));
  const code = await exitCodeAfter(async () => {
    expectExpandedPaths(argv);
    await program.parseAsync([...argv], { from: "user" });
  });
  // Results that did not arrive are no success.
  return code === 0 ? exitCodeAfter(finishOutput) : code;
}

async function exitCodeAfter(work: () => Promise<void>): Promise<number> {
  try {
    await work();
    return 0;
  } catch (error) {
    return report(error);
  }
}

surviveClosedStreams();
process.exitCode = await main(process.argv.slice(2));
// A signal leaves a computation behind whose result nobody wants.
if (process.exitCode > FIRST_SIGNAL_CODE) process.exit();
