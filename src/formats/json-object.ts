import { showValue, UserError } from "../base/errors.ts";
import { type Folder, readFolderText } from "../base/folder.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { parseJson } from "../base/json-text.ts";

export const MAX_JSON_BYTES = 50_000_000;

/** Parses the text of a JSON file that must hold an object. Throws a UserError otherwise. */
export function jsonObjectOf(text: string, file: string, what: string): Record<string, unknown> {
  expectNoLfsPointer(file, text, `${what} itself`);
  const value = parseJson(text, `${file}:`, { expected: what });
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: is ${showValue(value)}, expected ${what}.`);
  }
  return value as Record<string, unknown>;
}

/** Reads a JSON file of a folder, of at most 50 MB, that must hold an object. Throws a UserError otherwise. */
export async function readFolderJson(folder: Folder, name: string, what: string): Promise<Record<string, unknown>> {
  return jsonObjectOf(await readFolderText(folder, name, what, MAX_JSON_BYTES), folder.path(name), what);
}
