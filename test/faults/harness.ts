import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { RunStopped } from "../../src/runs/run.ts";
import { type TrainingEvent, train } from "../../src/runs/training.ts";
import { type Outcome, ROOT } from "../e2e/support.ts";

/** Trains a run until it has made some steps; its last checkpoint is the one after them. */
export async function trainUntil(step: number, recipe: string, run: string): Promise<void> {
  const stop = new AbortController();
  const onEvent = (event: TrainingEvent) => void (event.kind === "step" && event.step === step && stop.abort());
  const trained = await train({ recipe, run, signal: stop.signal, onEvent }).catch((error: unknown) => error);
  if (!(trained instanceof RunStopped) || trained.step !== step) throw trained;
}

/** How one command ended in the process that runs many of them; `code` is null when the process died or was killed for a bound. */
export interface Ending extends Outcome {
  /** Processor seconds until the work began (the first step) or the command ended. */
  seconds: number;
  /** Growth of resident memory until then, in bytes, above the process's own. */
  grownBytes: number;
  /** Why the process was killed. */
  killed: string | null;
}

export interface Bounds {
  /** Processor seconds before the work begins. */
  seconds: number;
  /** Resident bytes before the work begins, of the whole process. */
  residentBytes: number;
}

export interface CommandServer {
  /** Runs a command to its end; with `stopsTraining` a training is stopped after its first step. */
  run(command: readonly string[], options?: { stopsTraining?: boolean }): Promise<Ending>;
  close(): Promise<void>;
}

/** For commands that are expected to work. */
const UNBOUNDED: Bounds = { seconds: Number.POSITIVE_INFINITY, residentBytes: Number.POSITIVE_INFINITY };

const POLL_MS = 40;
/** Processor seconds that the work itself may take before it is stopped; no fault. */
const WORK_SECONDS = 10;

/**
 * Runs commands one after another through `main` of the built command line in a child process, which is some twenty times as quick as a
 * process for each. A child that goes beyond its bounds is killed and replaced. By default the best backend of this machine computes.
 */
export function commandServer(bounds: Bounds = UNBOUNDED, backend: "" | "reference" = ""): CommandServer {
  let child: ChildProcess | null = null;
  let answered: ((ending: Ending) => void) | null = null;
  /** What the work cost before it began; null until then. */
  let begun: { seconds: number; grownBytes: number } | null = null;

  function start(): ChildProcess {
    const started = spawn(process.execPath, [join(import.meta.dirname, "command-server.mjs")], {
      cwd: ROOT,
      env: { ...process.env, CRE_BACKEND: backend, NO_COLOR: "1" },
      stdio: ["pipe", "pipe", "pipe", "pipe"],
    });
    let noise = "";
    started.stderr?.setEncoding("utf8").on("data", (text: string) => {
      noise = (noise + text).slice(-4000);
    });
    createInterface({ input: started.stdio[3] as NodeJS.ReadableStream }).on("line", (line) => {
      if (child !== started) return;
      const message = JSON.parse(line);
      if (message.begun) begun = message.begun;
      else if (message.ended) answered?.({ ...message.ended, signal: null, killed: null });
    });
    started.on("close", (code, signal) => {
      // One that was killed for a bound has been answered for, and another may be at work.
      if (child !== started) return;
      child = null;
      answered?.({
        ...{ code: null, signal, stdout: "", stderr: noise, seconds: 0, grownBytes: 0 },
        killed: `the process ended (${code ?? signal})`,
      });
    });
    return started;
  }

  async function run(command: readonly string[], { stopsTraining = false } = {}): Promise<Ending> {
    // What earlier commands left behind does not count for this one.
    if (child !== null && residentBytes(child.pid as number) > bounds.residentBytes / 2) await close();
    child ??= start();
    const current = child;
    begun = null;
    const usedBefore = processorSeconds(current.pid as number);
    return await new Promise<Ending>((resolve) => {
      const end = (ending: Ending) => {
        clearInterval(watch);
        answered = null;
        resolve(ending);
      };
      const watch = setInterval(() => {
        if (bounds === UNBOUNDED) return;
        const seconds = processorSeconds(current.pid as number) - usedBefore;
        const bytes = residentBytes(current.pid as number);
        const tooLong = seconds > (begun ? WORK_SECONDS : 2 * bounds.seconds);
        const tooLarge = bytes > bounds.residentBytes && !begun;
        if (!tooLong && !tooLarge) return;
        if (child === current) child = null;
        current.kill("SIGKILL");
        const megabytes = Math.round(bytes / 1e6);
        const problem = `${seconds.toFixed(1)} s of the processor, ${megabytes} MB before the work began`;
        end({
          ...{ code: begun ? 130 : null, signal: begun ? null : "SIGKILL", stdout: "", stderr: "" },
          ...(begun ?? { seconds, grownBytes: bytes }),
          killed: begun ? null : problem,
        });
      }, POLL_MS);
      answered = end;
      current.stdin?.write(`${JSON.stringify({ command, stopsTraining })}\n`);
    });
  }

  async function close(): Promise<void> {
    const last = child;
    child = null;
    if (last === null) return;
    const ended = once(last, "close");
    last.kill("SIGKILL");
    await ended;
  }

  return { run, close };
}

/** 0 for a process that is gone. */
function processorSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

function residentBytes(pid: number): number {
  try {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
