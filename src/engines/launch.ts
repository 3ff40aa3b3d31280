import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { z } from "zod";
import { messageOf, UserError } from "../base/errors.ts";
import { pythonProgram, type TorchStatus } from "./python.ts";

/** How processes share the base: copies of it, or shards (FSDP2). */
export const PARALLEL_WAYS = ["ddp", "fsdp"] as const;
export type ParallelWay = (typeof PARALLEL_WAYS)[number];

const LAST_LINES = 12;
const MAX_LINE_CHARACTERS = 2_000;

/** A line of the trainer's output: it came up, made a step, stopped or ended. */
const eventSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("start"),
    device: z.string(),
    processes: z.int().min(1),
    parallel: z.string(),
    torch: z.string(),
    precision: z.string(),
    trained: z.number(),
    resumedAt: z.int().min(0),
  }),
  z.object({
    kind: z.literal("step"),
    step: z.int().min(1),
    epoch: z.number(),
    loss: z.number(),
    learningRate: z.number(),
    gradientNorm: z.number(),
    tokens: z.number(),
    answerTokens: z.number(),
    seconds: z.number(),
  }),
  z.object({ kind: z.literal("stopped"), step: z.int().min(0) }),
  z.object({ kind: z.literal("end"), steps: z.int().min(0) }),
]);

export type TrainerEvent = z.output<typeof eventSchema>;
export const stepSchema = eventSchema.options[1];

/** Splits a command into words as a shell does, without anything else of a shell: quotes keep blanks together. Throws a UserError for an open quote. */
export function wordsOf(command: string): string[] {
  const words: string[] = [];
  const pattern = /\s*((?:[^\s"']|"[^"]*"|'[^']*')+)|\s*(\S)/gy;
  for (const [, word, wrong] of command.matchAll(pattern)) {
    if (wrong !== undefined) throw new UserError(`--launch: has an open quote in ${JSON.stringify(command)}.`);
    words.push(word.replace(/"([^"]*)"|'([^']*)'/g, (_, a?: string, b?: string) => a ?? b ?? ""));
  }
  if (words.length === 0) throw new UserError("--launch: is empty, expected a command such as torchrun.");
  return words;
}

/** How the trainer is started without --launch: one process, or one for each GPU of this machine. */
export function usualLaunch({ program, gpus = [] }: Pick<TorchStatus, "program" | "gpus">): string[] {
  if (gpus.length < 2) return [program];
  return [program, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", String(gpus.length)];
}

/** The words of the trainer's command. */
export function trainerCommand(
  launch: readonly string[] | null,
  script: string,
  folder: string,
  output: string,
  parallel: ParallelWay,
): string[] {
  const start = launch ?? [pythonProgram()];
  return [...start, script, folder, "--output", output, "--parallel", parallel];
}

/** A word as a shell reads it back. */
export const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Runs the trainer to its end, and asks it to stop when `signal` aborts. Its events go to `onEvent`, everything else that it prints into the
 * log file. Throws a UserError with its last lines when it fails.
 */
export async function runTrainer(
  command: readonly string[],
  logFile: string,
  signal: AbortSignal,
  onEvent: (event: TrainerEvent) => void,
): Promise<{ stoppedAt: number | null }> {
  const [program, ...rest] = command;
  const env = { ...process.env, PYTHONUNBUFFERED: "1", TOKENIZERS_PARALLELISM: "false" };
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"], env });
  const log = createWriteStream(logFile, { flags: "a" }).on("error", () => {});
  const lastLines: string[] = [];
  let stoppedAt: number | null = null;
  let lastStep = 0;
  const note = (line: string) => {
    log.write(`${line}\n`);
    lastLines.push(line.slice(0, MAX_LINE_CHARACTERS));
    if (lastLines.length > LAST_LINES) lastLines.shift();
  };
  const read = (line: string) => {
    const event = eventOf(line);
    if (event === null) return note(line);
    if (event.kind === "stopped") stoppedAt = event.step;
    if (event.kind === "start") lastStep = event.resumedAt;
    if (event.kind === "step") lastStep = event.step;
    onEvent(event);
  };
  const out = createInterface({ input: child.stdout }).on("line", read);
  const err = createInterface({ input: child.stderr }).on("line", note);
  const stop = () => child.kill("SIGTERM");
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    const code = await new Promise<number | null>((done, fail) => child.on("error", fail).on("close", done));
    if (code === 0 || stoppedAt !== null) return { stoppedAt };
    // Ended while it loaded, or by its launcher: its last state is older, and the steps since are made again.
    if (signal.aborted) return { stoppedAt: lastStep };
    const lines = lastLines.filter((line) => line.trim() !== "").map((line) => `  ${line}`);
    throw new UserError(`${program}: the trainer ended with ${code ?? "a signal"}:\n${lines.join("\n")}`, {
      hint: `Everything that it printed is in ${logFile}. The run can be continued with --resume.`,
    });
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${program}: cannot be started (${messageOf(error)}).`, {
      hint: "`cre doctor --engine torch` says what is missing; CRE_PYTHON names another Python, --launch another command.",
    });
  } finally {
    signal.removeEventListener("abort", stop);
    out.close();
    err.close();
    log.end();
  }
}

function eventOf(line: string): TrainerEvent | null {
  if (!line.startsWith('{"kind"')) return null;
  try {
    return eventSchema.parse(JSON.parse(line));
  } catch {
    return null;
  }
}
