#!/usr/bin/env node
import { Command } from "commander";
import { addBenchCommands } from "./cli/bench.ts";
import { addDataCommands } from "./cli/data.ts";
import { addDemoCommand } from "./cli/demo.ts";
import { addEvaluateCommands } from "./cli/evaluate.ts";
import { addExportCommand } from "./cli/export.ts";
import { addExtractCommand } from "./cli/extract.ts";
import { buildBeforeComputing } from "./cli/first-build.ts";
import { expectExpandedPaths } from "./cli/home-paths.ts";
import { addModelCommands } from "./cli/model.ts";
import { addPromptCommand } from "./cli/prompt.ts";
import { addRecipeCommands } from "./cli/recipe.ts";
import { report } from "./cli/report.ts";
import { addTokenizerCommands } from "./cli/tokenizer.ts";
import { addTrainCommand } from "./cli/train.ts";

/**
 * Runs the command line. It throws nothing and returns the exit code: 0 done, 1 the user's mistake, 2 a fault of ours, 130 or 143 stopped by
 * SIGINT or SIGTERM with the state saved.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("cre")
    .description("Fine-tune open language models to extract relations from Chinese text.")
    .showHelpAfterError("(cre --help shows all commands)")
    .exitOverride();
  addTrainCommand(program);
  addEvaluateCommands(program);
  addExtractCommand(program);
  addExportCommand(program);
  addDataCommands(program);
  addRecipeCommands(program);
  addPromptCommand(program);
  addModelCommands(program);
  addTokenizerCommands(program);
  addBenchCommands(program);
  addDemoCommand(program);
  program.hook("preAction", (_, command) => buildBeforeComputing(command));
  try {
    expectExpandedPaths(argv);
    await program.parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    return report(error);
  }
}

// A reader that closes the pipe early (cre … | head) is no fault.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 2));
}
process.exitCode = await main(process.argv.slice(2));
