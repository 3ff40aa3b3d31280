import { showValue, UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { parseJson } from "../base/json-text.ts";

const MAX_JSON_BYTES = 50_000_000;

/** Reads a JSON file of at most 50 MB that must hold an object. Throws a UserError otherwise. */
export async function readJsonObject(file: string, what: string): Promise<Record<string, unknown>> {
  const text = await readTextFile(file, what, MAX_JSON_BYTES);
  expectNoLfsPointer(file, text, `${what} itself`);
  const value = parseJson(text, `${file}:`, { expected: what });
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: is ${showValue(value)}, expected ${what}.`);
  }
  return value as Record<string, unknown>;
}
