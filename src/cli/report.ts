import { constants } from "node:os";
import { CommanderError } from "commander";
import picocolors from "picocolors";
import { messageOf, UserError } from "../base/errors.ts";

/** Work that was stopped in good order and can be continued later. */
export class Interrupted extends Error {
  readonly exitCode: number;

  /** `signal`: what stopped it; a limit that was reached (null) counts as Ctrl-C. */
  constructor(message: string, signal: NodeJS.Signals | null = null) {
    super(message);
    this.exitCode = exitCodeOf(signal ?? "SIGINT");
  }
}

const EXIT = { done: 0, mistake: 1, fault: 2 } as const;

/** The exit code of a process that a signal ended, as shells count: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Prints an error to standard error and returns its exit code. Only a fault of ours is printed with its stack. */
export function report(error: unknown): number {
  // Commander has printed its own message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.mistake;
  if (error instanceof Interrupted) {
    process.stderr.write(`${picocolors.yellow("stopped:")} ${error.message}\n`);
    return error.exitCode;
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
