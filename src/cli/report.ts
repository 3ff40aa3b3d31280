import { CommanderError } from "commander";
import picocolors from "picocolors";
import { messageOf, UserError } from "../base/errors.ts";

/** Work that was stopped by Ctrl-C in good order and can go on later. */
export class Interrupted extends Error {}

/** Exit codes; 130 is what shells expect after an interruption. */
const EXIT = { done: 0, mistake: 1, fault: 2, interrupted: 130 } as const;

/** Says on standard error what was thrown and returns the exit code: a stack is shown for faults of ours only. */
export function report(error: unknown): number {
  // Commander has printed its own message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.mistake;
  if (error instanceof Interrupted) {
    process.stderr.write(`${picocolors.yellow("stopped:")} ${error.message}\n`);
    return EXIT.interrupted;
  }
  if (error instanceof UserError) {
    process.stderr.write(`${picocolors.red("error:")} ${error.message}\n`);
    if (error.hint) process.stderr.write(`${picocolors.dim("hint:")} ${error.hint}\n`);
    return EXIT.mistake;
  }
  process.stderr.write(`${picocolors.red("fault:")} ${messageOf(error)}\n`);
  process.stderr.write(
    `${error instanceof Error ? error.stack : ""}\nThis is a fault of cre-llm, not of your input.\n`,
  );
  return EXIT.fault;
}
