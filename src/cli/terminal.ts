import { once } from "node:events";
import { SingleBar } from "cli-progress";
import picocolors from "picocolors";

/** A line for people, on standard error: standard output is for results. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

export function warn(line: string): void {
  say(`${picocolors.yellow("note:")} ${line}`);
}

/** Writes a line of results and waits when the reader is slow. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

export interface Progress {
  update(done: number, detail?: string): void;
  /** A line above the bar. */
  line(text: string): void;
  stop(): void;
}

const LINE_EVERY_MS = 10_000;

/**
 * A progress bar on a terminal; elsewhere (a file, CI) one line every ten seconds. Without a total it counts. `stop` must be called, also
 * after an error: until then a terminal's bar keeps the process alive and the cursor hidden.
 */
export function progress(title: string, total: number | null, startAt = 0): Progress {
  const started = performance.now();
  const remaining = (done: number) => {
    if (done <= startAt || total === null) return "";
    const seconds = ((performance.now() - started) / 1000 / (done - startAt)) * (total - done);
    return `  ${duration(seconds)} left`;
  };
  if (!process.stderr.isTTY) {
    let last = started;
    return {
      update(done, detail = "") {
        const now = performance.now();
        if (now - last < LINE_EVERY_MS) return;
        last = now;
        say(`${title} ${done}${total === null ? "" : `/${total}`}  ${detail}${remaining(done)}`);
      },
      line: say,
      stop() {},
    };
  }
  const bar = new SingleBar({
    format: `${title} ${total === null ? "{value}" : "{bar} {value}/{total}"}  {detail}{left}`,
    barsize: 24,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    stopOnComplete: false,
    clearOnComplete: true,
    linewrap: false,
    fps: 8,
    stream: process.stderr,
  });
  bar.start(total ?? 0, startAt, { detail: "", left: "" });
  let now = { done: startAt, detail: "" };
  let isStopped = false;
  return {
    update(done, detail = "") {
      now = { done, detail };
      bar.update(done, { detail, left: remaining(done) });
    },
    line(text) {
      process.stderr.write(`\r\x1b[2K${text}\n`);
      bar.update(now.done, { detail: now.detail, left: remaining(now.done) });
    },
    stop() {
      if (!isStopped) bar.stop();
      isStopped = true;
    },
  };
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
