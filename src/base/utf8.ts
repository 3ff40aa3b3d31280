import { UserError } from "./errors.ts";

/** Decodes strict UTF-8; throws a UserError that names the first bad line. */
export function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`${name}, line ${firstBadLine(bytes)}: is not valid UTF-8.`, {
      hint: "Convert the file first, for example: iconv -f GB18030 -t UTF-8 IN > OUT",
    });
  }
}

function firstBadLine(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 1;
  let start = 0;
  for (let i = 0; i <= bytes.length; i++) {
    if (i < bytes.length && bytes[i] !== 10) continue;
    try {
      decoder.decode(bytes.subarray(start, i));
    } catch {
      return line;
    }
    start = i + 1;
    line++;
  }
  return line;
}
