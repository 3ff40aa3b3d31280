import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { messageOf } from "../base/errors.ts";
import { TRAINER_FOLDER } from "./hand-over.ts";

/** A cold import of torch from a slow disk. */
const PROBE_TIMEOUT_MS = 180_000;
const MAX_PROBE_CHARACTERS = 1_000_000;

const foundSchema = z.object({
  python: z.string(),
  packages: z.record(z.string(), z.string().nullable()),
  cuda: z.string().nullable(),
  gpus: z.array(z.object({ name: z.string(), memoryBytes: z.number() })),
  bfloat16: z.boolean(),
  problem: z.string().nullable(),
});

/** What a Python has for engines/torch/train.py. */
export interface TorchStatus extends Partial<z.output<typeof foundSchema>> {
  /** The program that was asked: CRE_PYTHON, else python3. */
  program: string;
  /** Packages of requirements.txt with the version that is pinned there and the installed one, null when it is missing. */
  requirements: { name: string; pinned: string; installed: string | null; isNeeded: boolean }[];
  /** Why the trainer cannot run here; empty when it can. */
  missing: string[];
}

export const pythonProgram = (): string => process.env.CRE_PYTHON || "python3";

/** Only a base in 4 bit needs it. */
const OPTIONAL = ["bitsandbytes"];

/** The pinned packages of the trainer: name and version. */
export async function pinnedPackages(): Promise<{ name: string; pinned: string }[]> {
  const text = await readFile(join(TRAINER_FOLDER, "requirements.txt"), "utf8");
  return Array.from(text.matchAll(/^([\w-]+)==([\w.]+)/gm), ([, name, pinned]) => ({ name, pinned }));
}

/** Asks Python what it has for the trainer. */
export async function torchStatus(program = pythonProgram()): Promise<TorchStatus> {
  const pinned = await pinnedPackages();
  const names = pinned.map(({ name }) => name);
  const { found, problem } = await probe(program, names);
  const requirements = pinned.map(({ name, pinned }) => {
    return { name, pinned, installed: found?.packages[name] ?? null, isNeeded: !OPTIONAL.includes(name) };
  });
  const missing = found
    ? requirements.filter(({ installed, isNeeded }) => installed === null && isNeeded).map(({ name }) => name)
    : [`${program}: ${problem}`];
  if (missing.length === 0 && found?.problem) missing.push(found.problem);
  return { program, ...found, requirements, missing };
}

async function probe(
  program: string,
  names: readonly string[],
): Promise<{ found: z.output<typeof foundSchema> | null; problem: string }> {
  const script = join(TRAINER_FOLDER, "probe.py");
  const child = spawn(program, [script, ...names], { stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), PROBE_TIMEOUT_MS);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (stdout.length < MAX_PROBE_CHARACTERS) stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (stderr.length < MAX_PROBE_CHARACTERS) stderr += text;
  });
  try {
    const code = await new Promise<number | null>((done, fail) => child.on("error", fail).on("close", done));
    if (code !== 0) return { found: null, problem: stderr.trim().split("\n").at(-1) || `ended with ${code}` };
    return { found: foundSchema.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? "")), problem: "" };
  } catch (error) {
    return { found: null, problem: messageOf(error) };
  } finally {
    clearTimeout(timer);
  }
}
