import { showValue, UserError } from "../base/errors.ts";
import { type Folder, readFolderText } from "../base/folder.ts";
import { expectNoLfsPointer } from "../base/hints.ts";
import { parseJson } from "../base/json-text.ts";

const MAX_DEPTH = 32;
/** Qwen's tokenizer.json has about 300,000 lists (merges) and 1.2 million values. */
const MAX_CONTAINERS = 1 << 21;
const MAX_VALUES = 1 << 23;

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Reads a JSON file of at most `maxBytes` whose top level is an object. Throws a UserError for anything else, and for nesting or a number of
 * values that would fill the memory.
 */
export async function readJsonObject(
  folder: Folder,
  name: string,
  what: string,
  maxBytes: number,
): Promise<JsonObject> {
  return parseJsonObject(await readFolderText(folder, name, what, maxBytes), folder.path(name), what);
}

/** Like {@link readJsonObject} for a text; errors use `name`. */
export function parseJsonObject(text: string, name: string, what: string): JsonObject {
  expectNoLfsPointer(name, text, `${what} itself`);
  checkShape(text, name);
  const value = parseJson(text, `${name}:`, { expected: what, hint: "Was the file cut short?" });
  if (isJsonObject(value)) return value;
  throw new UserError(`${name}: holds ${showValue(value)}, expected an object: ${what}.`);
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Counts brackets and commas outside strings, before parsing builds anything from them. */
function checkShape(text: string, name: string): void {
  let depth = 0;
  let containers = 0;
  let commas = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
    } else if (character === "{" || character === "[") {
      containers++;
      if (++depth > MAX_DEPTH) throw new UserError(`${name}: is nested more than ${MAX_DEPTH} deep.`);
    } else if (character === "}" || character === "]") depth--;
    else if (character === ",") commas++;
  }
  if (containers > MAX_CONTAINERS || commas > MAX_VALUES) {
    throw new UserError(
      `${name}: has ${containers} objects and lists with ${commas} commas, expected at most ${MAX_CONTAINERS} and ${MAX_VALUES}.`,
    );
  }
}
