#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import picocolors from "picocolors";
import { messageOf, UserError } from "./base/errors.ts";
import { addDataCommands } from "./cli/data.ts";
import { addDemoCommand } from "./cli/demo.ts";
import { addEvaluateCommands } from "./cli/evaluate.ts";
import { addExtractCommand } from "./cli/extract.ts";
import { addModelCommands } from "./cli/model.ts";
import { addTrainCommand } from "./cli/train.ts";

/** The command line; throws nothing: every outcome is an exit code (0 done, 1 the user's mistake, 2 a fault of ours). */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("cre")
    .description("Fine-tune open language models to extract relations from Chinese text.")
    .showHelpAfterError("(cre --help shows all commands)")
    .exitOverride();
  addTrainCommand(program);
  addEvaluateCommands(program);
  addExtractCommand(program);
  addDataCommands(program);
  addModelCommands(program);
  addDemoCommand(program);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return 0;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
  if (error instanceof UserError) {
    process.stderr.write(`${picocolors.red("error:")} ${error.message}\n`);
    if (error.hint) process.stderr.write(`${picocolors.dim("hint:")} ${error.hint}\n`);
    return 1;
  }
  process.stderr.write(`${picocolors.red("fault:")} ${messageOf(error)}\n`);
  process.stderr.write(
    `${error instanceof Error ? error.stack : ""}\nThis is a fault of cre-llm, not of your input.\n`,
  );
  return 2;
}

// A reader that goes away early (cre … | head) is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 2);
});
process.exitCode = await main(process.argv.slice(2));
