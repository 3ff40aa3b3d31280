import { UserError } from "../base/errors.ts";
import { readTextFile } from "../base/files.ts";

const MAX_KEY_BYTES = 10_000;

/** Reads an API key: the first line of a file. Throws a UserError, without the key, for what cannot be sent. */
export async function readApiKey(file: string): Promise<string> {
  const text = await readTextFile(file, "an API key", MAX_KEY_BYTES);
  const key = text.trim();
  if (key === "") throw new UserError(`${file}: is empty, expected an API key.`);
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new UserError(`${file}: has spaces, line breaks or other than ASCII characters, expected an API key alone.`);
  }
  return key;
}
