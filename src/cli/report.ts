import { constants } from "node:os";
import { CommanderError } from "commander";
import picocolors from "picocolors";
import { isSystemError, messageOf, printable, UserError } from "../base/errors.ts";
import { OutputClosed, say } from "./terminal.ts";

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

/** Windows has no SIGPIPE; the exit code is the same there. */
const SIGPIPE = 13;

/** The exit code of a process that a signal ended, as shells count: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + (signal === "SIGPIPE" ? SIGPIPE : constants.signals[signal]);
}

/** Prints an error to standard error and returns its exit code. Only a fault of ours is printed with its stack. */
export function report(error: unknown): number {
  // Commander has printed its own message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.mistake;
  if (error instanceof OutputClosed) return exitCodeOf("SIGPIPE");
  if (error instanceof Interrupted) {
    say(`${picocolors.yellow("stopped:")} ${printable(error.message)}`);
    return error.exitCode;
  }
  if (error instanceof UserError) {
    say(`${picocolors.red("error:")} ${printable(error.message)}`);
    if (error.hint) say(`${picocolors.dim("hint:")} ${printable(error.hint)}`);
    return EXIT.mistake;
  }
  if (isSystemError(error) && error.path !== undefined) {
    // A disk, a permission, a path that is in the way: nothing that a stack of ours explains. The message holds the path.
    say(`${picocolors.red("error:")} ${printable(error.message)}`);
    return EXIT.mistake;
  }
  say(`${picocolors.red("fault:")} ${printable(messageOf(error))}`);
  say(`${error instanceof Error ? printable(error.stack ?? "") : ""}\nThis is a fault of cre-llm, not of your input.`);
  return EXIT.fault;
}
