import { readTextFile } from "../base/files.ts";
import { jsonObjectOf, MAX_JSON_BYTES } from "./json-object.ts";

/** Reads a JSON file of at most 50 MB that must hold an object. Throws a UserError otherwise. */
export async function readJsonObject(file: string, what: string): Promise<Record<string, unknown>> {
  return jsonObjectOf(await readTextFile(file, what, MAX_JSON_BYTES), file, what);
}
