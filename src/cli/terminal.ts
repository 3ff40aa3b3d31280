import picocolors from "picocolors";
import { isSystemError, printable } from "../base/errors.ts";
import { cannotBeWritten } from "../base/output.ts";

/** The colours and weights of picocolors. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: paint begins with the escape character.
const PAINT = /(\u001b\[(?:[12]|22|3[0-9])m)/;

/** A line as it may reach the terminal: our own paint stays, every other control character is shown as its escape. */
function shown(text: string): string {
  if (!picocolors.isColorSupported) return printable(text);
  return text
    .split(PAINT)
    .map((part, i) => (i % 2 === 1 ? part : printable(part)))
    .join("");
}

/** Prints a line for people on standard error; standard output is for results. */
export function say(line: string): void {
  process.stderr.write(`${shown(line)}\n`);
}

export function warn(line: string): void {
  say(`${picocolors.yellow("note:")} ${printable(line)}`);
}

/** Standard output has no reader any more (`cre … | head`): the command ends without a message. */
export class OutputClosed extends Error {}

/** Writes results to standard output and waits for a slow reader. Throws an OutputClosed or, when it is full, a UserError. */
export async function print(text: string): Promise<void> {
  await new Promise<void>((done, fail) => {
    process.stdout.write(text, (error) => (error ? fail(outputFailure(error)) : done()));
  });
}

/** Writes results for people: what a file holds does not steer the terminal. */
export const printText = (text: string): Promise<void> => print(shown(text));

/** The error that ends a command when standard output failed. */
function outputFailure(error: Error): Error {
  // Of a stream that failed before, only the first failure says why.
  const first = failures.get(process.stdout) ?? error;
  if (isSystemError(first) && first.code === "EPIPE") return new OutputClosed();
  return cannotBeWritten("standard output", first);
}

const failures = new Map<NodeJS.WriteStream, Error>();

/**
 * Keeps the process alive when the reader of a standard stream goes away or its disk is full. Messages and progress are dropped then, and the
 * work continues; results fail where they are printed.
 */
export function surviveClosedStreams(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error) => {
      if (!failures.has(stream)) failures.set(stream, error);
    });
  }
}

/** Waits until standard output is written. Throws like {@link print}. */
export async function finishOutput(): Promise<void> {
  if (process.stdout.writableLength > 0) return print("");
  // A stream tells of a failed write in the next turn of the event loop.
  await new Promise((done) => setImmediate(done));
  const failure = failures.get(process.stdout);
  if (failure) throw outputFailure(failure);
}

export interface Progress {
  update(done: number, detail?: string): void;
  /** A line above the bar. */
  line(text: string): void;
  stop(): void;
}

/** Printed when a signal asks a training to stop. */
export const STOPPING = "stopping after this step and saving a checkpoint; Ctrl-C again stops at once";

const LINE_EVERY_MS = 10_000;
const DRAW_EVERY_MS = 125;
const BAR_CHARS = 24;
const CLEAR_LINE = "\r\x1b[2K";

/**
 * A progress bar on a terminal; elsewhere (a file, CI) one line every ten seconds. Without a total it counts. It draws only on a call and
 * changes only its own line, so an error or Ctrl-C leaves the terminal as it was.
 */
export function progress(title: string, total: number | null, startAt = 0): Progress {
  const started = performance.now();
  const remaining = (done: number) => {
    if (done <= startAt || total === null) return "";
    const seconds = ((performance.now() - started) / 1000 / (done - startAt)) * (total - done);
    return `  ${duration(seconds)} left`;
  };
  const counted = (done: number) => (total === null ? `${done}` : `${done}/${total}`);
  const text = (done: number, detail: string) => `${counted(done)}  ${detail}${remaining(done)}`;
  const isTerminal = process.stderr.isTTY;
  let now = { done: startAt, detail: "" };
  let drawnAt = started;
  const draw = () => {
    const bar = total === null ? "" : `${barOf(now.done / total)} `;
    // A line that wraps could not be replaced.
    const line = printable(`${title} ${bar}${text(now.done, now.detail)}`).slice(0, (process.stderr.columns || 80) - 1);
    process.stderr.write(`${CLEAR_LINE}${line}`);
  };
  if (isTerminal) draw();
  return {
    update(done, detail = "") {
      now = { done, detail };
      const time = performance.now();
      if (time - drawnAt < (isTerminal ? DRAW_EVERY_MS : LINE_EVERY_MS)) return;
      drawnAt = time;
      if (isTerminal) draw();
      else say(`${title} ${text(done, detail)}`);
    },
    line(above) {
      if (!isTerminal) return say(above);
      process.stderr.write(CLEAR_LINE);
      say(above);
      draw();
    },
    stop() {
      if (isTerminal) process.stderr.write(CLEAR_LINE);
    },
  };
}

/** Shows no progress: for results that are printed on the same terminal. */
export const noProgress: Progress = { update() {}, line: say, stop() {} };

function barOf(share: number): string {
  const full = Math.round(BAR_CHARS * Math.min(1, Math.max(0, share)));
  return "█".repeat(full) + "░".repeat(BAR_CHARS - full);
}

/** "1 h 02 min", "3 min 20 s", "12 s". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, "0");
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  if (whole >= 60) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${whole} s`;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

export const percent = (fraction: number): string => (100 * fraction).toFixed(1);
