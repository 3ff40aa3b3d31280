import { createRequire } from "node:module";
import { Command } from "commander";
import { printable } from "../base/errors.ts";
import { buildBeforeComputing } from "./first-build.ts";
import { expectExpandedPaths } from "./home-paths.ts";
import { expectPaths } from "./options.ts";
import { report } from "./report.ts";
import { finishOutput, surviveClosedStreams } from "./terminal.ts";

const { version: VERSION } = createRequire(import.meta.url)("../../package.json") as { version: string };
/** The exit code of a process that a signal ended is this and the number of the signal. */
const FIRST_SIGNAL_CODE = 128;

/** The commands in the order of the help, and what adds them to the program. Only the commands of one file are loaded where a call names one. */
export const COMMANDS: readonly (readonly [
  names: readonly string[],
  load: () => Promise<(program: Command) => void>,
])[] = [
  [["train"], async () => (await import("./train.ts")).addTrainCommand],
  [["evaluate", "score"], async () => (await import("./evaluate.ts")).addEvaluateCommands],
  [["calibrate"], async () => (await import("./calibrate.ts")).addCalibrateCommand],
  [["compare"], async () => (await import("./compare.ts")).addCompareCommand],
  [["tune"], async () => (await import("./tune.ts")).addTuneCommand],
  [["distill"], async () => (await import("./distill.ts")).addDistillCommand],
  [["extract"], async () => (await import("./extract.ts")).addExtractCommand],
  [["export"], async () => (await import("./export.ts")).addExportCommand],
  [["queue"], async () => (await import("./queue.ts")).addQueueCommands],
  [["worker"], async () => (await import("./worker.ts")).addWorkerCommand],
  [["serve"], async () => (await import("./serve.ts")).addServeCommand],
  [["label"], async () => (await import("./label.ts")).addLabelCommand],
  [["data"], async () => (await import("./data.ts")).addDataCommands],
  [["recipe"], async () => (await import("./recipe.ts")).addRecipeCommands],
  [["prompt"], async () => (await import("./prompt.ts")).addPromptCommand],
  [["model", "tokenize"], async () => (await import("./model.ts")).addModelCommands],
  [["tokenizer"], async () => (await import("./tokenizer.ts")).addTokenizerCommands],
  [["bench"], async () => (await import("./bench.ts")).addBenchCommands],
  [["demo"], async () => (await import("./demo.ts")).addDemoCommand],
  [["doctor"], async () => (await import("./doctor.ts")).addDoctorCommand],
];

/** Adds the command that the call names; all of them where it names none of them, for the help and for suggestions. */
async function addCommands(program: Command, [name = ""]: readonly string[]): Promise<void> {
  if (["-V", "--version"].includes(name)) return;
  const named = COMMANDS.filter(([names]) => names.includes(name));
  for (const [, load] of named.length > 0 ? named : COMMANDS) (await load())(program);
}

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
  await addCommands(program, argv);
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

/** Runs the command line of this process and sets its exit code. */
export async function runProgram(): Promise<void> {
  surviveClosedStreams();
  process.exitCode = await main(process.argv.slice(2));
  // A signal leaves a computation behind whose result nobody wants.
  if (process.exitCode > FIRST_SIGNAL_CODE) process.exit();
}
