import { existsSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import { UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { parseJson } from "../base/json-text.ts";
import { checkSchema } from "../base/schema.ts";

// Files that a trainer elsewhere wrote.

const MAX_RESULT_BYTES = 1_000_000;
const MAX_LOG_BYTES = 100_000_000;

/** Reads a small JSON file of a trainer. Throws a UserError for another content. */
export async function readResultJson<T>(file: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readTextFile(file, "a result", MAX_RESULT_BYTES);
  return checkSchema(schema, parseJson(text, `${file}:`), file);
}

/** The steps in a trainer's log.jsonl, without its other lines. Throws a UserError for a line that is none. */
export async function readSteps<T>(collected: string, schema: z.ZodType<T>): Promise<(T & { kind: "step" })[]> {
  const file = join(collected, "log.jsonl");
  if (!existsSync(file)) throw new UserError(`${collected}: has no log.jsonl.`);
  const lines = (await readTextFile(file, "a log", MAX_LOG_BYTES)).split("\n").filter((line) => line.trim() !== "");
  return lines.flatMap((line, i) => {
    const where = `${file}, line ${i + 1}`;
    const value = parseJson(line, `${where}:`) as { kind?: unknown } | null;
    return value?.kind === "step" ? [{ kind: "step" as const, ...checkSchema(schema, value, where) }] : [];
  });
}
