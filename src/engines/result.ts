import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/errors.ts";
import { digestOfFile } from "../pretrain/token-file.ts";
import { readResultJson, readSteps } from "../runs/collected-files.ts";
import type { LogLine } from "../runs/run-folder.ts";
import type { TrainingOrigin } from "../runs/training-state.ts";
import { originSchema } from "./hand-over.ts";
import { stepSchema } from "./launch.ts";

/** Where the trainer writes, in the folder of a hand-over. */
export const OUTPUT = "out";
const RESULT_FILE = "result.json";

const text = z.string().max(200);
const resultSchema = z.object({
  origin: originSchema,
  steps: z.int().min(1),
  seconds: z.number().min(0),
  device: text,
  processes: z.int().min(1),
  parallel: text,
  torch: text,
  transformers: text,
  peft: text,
  kept: z
    .array(
      z.object({
        step: z.int().min(1),
        folder: z.string().regex(/^kept\/step-\d{1,12}$/),
        files: z.record(z.string().regex(/^[\w.-]+$/), z.string()),
      }),
    )
    .min(1)
    .max(100_000),
});

/** What a trainer elsewhere made. */
export interface Collected {
  /** Adapters in the order of their steps; the last one is that of the last step. */
  kept: { step: number; folder: string }[];
  log: LogLine[];
  /** The program and machine that trained; null for a folder that only has an adapter. */
  trainedBy: Omit<z.output<typeof resultSchema>, "origin" | "kept"> | null;
}

/** The folder with the result: the one given, or `out` in it. */
function resultFolder(directory: string): string | null {
  return [directory, join(directory, OUTPUT)].find((one) => existsSync(join(one, RESULT_FILE))) ?? null;
}

/** The run that a result belongs to: the folder around its hand-over; null when there is none. */
export function runAround(directory: string): string | null {
  const up = [dirname(directory), dirname(dirname(directory))];
  return up.find((one) => existsSync(join(one, "recipe.yaml")) && existsSync(join(one, "engine.json"))) ?? null;
}

/**
 * Reads what engines/torch/train.py wrote for a training of this origin and these steps, or a PEFT folder of another program. Throws a UserError for an
 * unfinished training, a result of another hand-over, and a damaged file.
 */
export async function readCollected(directory: string, origin: TrainingOrigin, steps: number): Promise<Collected> {
  const folder = resultFolder(directory);
  if (folder === null) {
    if (existsSync(join(directory, "adapter_config.json"))) {
      return { kept: [{ step: steps, folder: directory }], log: [], trainedBy: null };
    }
    const isBegun = [directory, join(directory, OUTPUT)].some((one) => existsSync(join(one, "log.jsonl")));
    throw new UserError(`${directory}: has no ${RESULT_FILE}, which engines/torch/train.py writes at its end.`, {
      hint: isBegun ? "The training has not finished: start the same command again, it continues." : undefined,
    });
  }
  const { origin: made, kept, ...trainedBy } = await readResultJson(join(folder, RESULT_FILE), resultSchema);
  if (made.recipe !== origin.recipe || made.rows !== origin.rows) {
    throw new UserError(
      `${folder}: is the result of another hand-over: its settings or rows are not those of the run.`,
      {
        hint: "Give the run that wrote the hand-over with --run DIR.",
      },
    );
  }
  for (const { folder: one, files } of kept) {
    for (const [name, expected] of Object.entries(files)) {
      const file = join(folder, one, name);
      if (!existsSync(file) || (await digestOfFile(file)) !== expected) {
        throw new UserError(`${file}: is missing or damaged.`, { hint: "Copy the trainer's output folder again." });
      }
    }
  }
  const sorted = [...kept].sort((a, b) => a.step - b.step);
  if (sorted.at(-1)?.step !== steps || trainedBy.steps !== steps) {
    throw new UserError(`${folder}: ends at step ${sorted.at(-1)?.step}, expected ${steps}.`);
  }
  const log = (await readSteps(folder, stepSchema)).filter(({ step }) => step <= steps);
  return { kept: sorted.map(({ step, folder: one }) => ({ step, folder: join(folder, one) })), log, trainedBy };
}
