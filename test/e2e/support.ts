import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { createRandom } from "../../src/base/random.ts";

export const ROOT = join(import.meta.dirname, "..", "..");
export const SHARED = join(ROOT, "..", "shared");
export const TOKENIZER = join(ROOT, "models", "small-zh", "tokenizer.model");
const CLI = join(ROOT, "dist", "cli.js");

/** A folder that is gone when the tests of a file have ended. */
export function temporaryFolder(name: string): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `cre-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

const COMPANIES = ["远山", "近水", "东风", "西岭", "南湖", "北辰", "长河", "大江"];
const PATTERNS: readonly [string, string][] = [
  ["#收购*的股份", "收购"],
  ["#被*收购", "被收购"],
  ["#与*合作", "合作"],
  ["#和*都在本市", "unknown"],
];

/** One row of the toy set: the pattern says the relation, the companies say nothing. */
export function toyRows(
  count: number,
  seed: number,
): { id: string; sentence: string; head: string; tail: string; relations: string[] }[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, (_, i) => {
    const [pattern, relation] = PATTERNS[i % PATTERNS.length];
    const [head, tail] = random.shuffle([...COMPANIES]);
    // The number keeps rows of one set apart from each other.
    const sentence = `${i}日${pattern.replace("#", head).replace("*", tail)}`;
    return { id: `${seed}-${i}`, sentence, head, tail, relations: [relation] };
  });
}

export const jsonl = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** Writes a data folder with 16 training, 8 validation and 8 test rows. */
export function writeToyData(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const labels = {
    labels: ["unknown", "收购", "被收购", "合作"],
    noRelation: "unknown",
    inverses: { 收购: "被收购" },
    symmetric: ["unknown", "合作"],
  };
  writeFileSync(join(directory, "labels.json"), JSON.stringify(labels));
  writeFileSync(join(directory, "train.jsonl"), jsonl(toyRows(16, 1)));
  writeFileSync(join(directory, "valid.jsonl"), jsonl(toyRows(8, 2)));
  writeFileSync(join(directory, "test.jsonl"), jsonl(toyRows(8, 3)));
  return directory;
}

/** A recipe for a model of some 130,000 parameters that learns the toy set in seconds on the reference backend. */
export function toyRecipe(data: string): Record<string, Record<string, unknown>> & { seed: number } {
  return {
    model: {
      init: { width: 16, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 32, maxTokens: 256 },
      tokenizer: TOKENIZER,
      storage: "float32",
    },
    data: { path: data },
    prompt: { style: "marked", template: "plain", maxPromptTokens: 128, maxAnswerTokens: 24 },
    adapter: { method: "full" },
    train: {
      epochs: 2,
      batchExamples: 4,
      accumulation: 1,
      learningRate: 0.01,
      validateEvery: 0.5,
      checkpointSeconds: 1e6,
    },
    decode: {},
    seed: 5,
  } as unknown as Record<string, Record<string, unknown>> & { seed: number };
}

export function writeRecipe(file: string, recipe: unknown): string {
  writeFileSync(file, stringify(recipe));
  return file;
}

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface CreOptions {
  cwd?: string;
  input?: string | Buffer;
  env?: Record<string, string>;
  /**
   * Sends a signal some time after a condition on all of standard error (or on the world) holds; asked every few milliseconds. With `again`
   * it is sent once more when standard error has that text.
   */
  kill?: { when: (stderr: string) => boolean; afterMs?: number; signal: NodeJS.Signals; again?: string };
  /** Kills a command that hangs: the outcome has the signal SIGKILL then. */
  timeoutMs?: number;
  /** Streams whose reader goes away before the command starts to write. */
  unread?: readonly ("stdout" | "stderr")[];
  /** Standard output goes into this file or device instead of into the outcome. */
  stdoutFile?: string;
}

let defaultBackend = "reference";

/** Commands of this test file compute with the best backend of this machine: for tests that need no slow work and no reference numbers. */
export function useBestBackend(): void {
  defaultBackend = "";
}

/** Runs the built command line, on the reference backend unless {@link useBestBackend} or `env` say otherwise. */
export async function cre(command: readonly string[], options: CreOptions = {}): Promise<Outcome> {
  const env = { ...process.env, CRE_BACKEND: defaultBackend, NO_COLOR: "1", ...options.env };
  const stdout = options.stdoutFile === undefined ? "pipe" : openSync(options.stdoutFile, "w");
  const child = spawn(process.execPath, [CLI, ...command], {
    cwd: options.cwd ?? ROOT,
    env,
    stdio: ["pipe", stdout, "pipe"],
  }) as ChildProcessWithoutNullStreams;
  if (typeof stdout === "number") closeSync(stdout);
  const out: Buffer[] = [];
  const { kill } = options;
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  for (const name of options.unread ?? []) child[name].destroy();
  const timer = options.timeoutMs && setTimeout(() => child.kill("SIGKILL"), options.timeoutMs);
  const watch = setInterval(() => {
    if (!kill?.when(stderr)) return;
    clearInterval(watch);
    setTimeout(() => child.kill(kill.signal), kill.afterMs ?? 0);
  }, 5);
  if (kill?.again !== undefined) {
    const text = kill.again;
    const onText = () => {
      if (!stderr.includes(text)) return;
      child.stderr.off("data", onText);
      child.kill(kill.signal);
    };
    child.stderr.on("data", onText);
  }
  // A command may well end without reading its input.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearInterval(watch);
      if (timer) clearTimeout(timer);
      resolve({ code, signal, stdout: Buffer.concat(out).toString("utf8"), stderr });
    });
  });
}

/** Compiles src to dist when it is missing or older than a source file. */
export function buildCli(): Promise<void> {
  return makeOnce(join(ROOT, "node_modules", ".cre-build-lock"), isStale, compile);
}

/** Makes what is missing; test files that run at the same time wait for each other. */
export async function makeOnce(lock: string, isMissing: () => boolean, make: () => Promise<void>): Promise<void> {
  while (isMissing()) {
    try {
      mkdirSync(lock);
    } catch {
      // Held by another test file, or left by one that was killed.
      if (Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) > 120_000)
        rmSync(lock, { recursive: true, force: true });
      await sleep(200);
      continue;
    }
    try {
      if (isMissing()) await make();
    } finally {
      rmdirSync(lock);
    }
  }
}

function isStale(): boolean {
  if (!existsSync(CLI)) return true;
  const builtAt = statSync(CLI).mtimeMs;
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" });
  // The page is built by its own step.
  const isPage = (name: string) => name.startsWith(join("serve", "page"));
  return sources.some(
    (name) =>
      !isPage(name) &&
      /(?<!\.test|\.contract)\.(ts|js|wasm)$/.test(name) &&
      statSync(join(ROOT, "src", name)).mtimeMs > builtAt,
  );
}

async function compile(): Promise<void> {
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  for (const step of [[tsc, "-p", "tsconfig.build.json"], [join(ROOT, "dist", "compute", "wasm", "assets.js")]]) {
    const child = spawn(process.execPath, step, { cwd: ROOT, stdio: "inherit" });
    await new Promise((resolve) => child.on("close", resolve));
  }
  // Type errors are the business of `npm run check`; without output there is nothing to test.
  if (!existsSync(CLI)) throw new Error("tsc wrote no dist/cli.js.");
}
