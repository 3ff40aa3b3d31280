import { ReadProblem } from "./limits.ts";

/** The encodings that are read without being named. */
export type Encoding = "utf-8" | "utf-16le" | "utf-16be" | "gb18030";

const STRICT = { fatal: true } as const;

/** The encoding that a byte-order mark names; null without one. */
export function markedEncoding(bytes: Uint8Array): Encoding | null {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return "utf-8";
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  return null;
}

/** The text in strict UTF-8, or null. A byte-order mark is dropped. */
export function utf8OrNull(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", STRICT).decode(bytes);
  } catch {
    return null;
  }
}

/** Share of the characters of two bytes that are in the first half of GB 2312 (3,755 common characters, punctuation) from which a text counts as Chinese. */
const LEAST_COMMON_SHARE = 0.7;

/**
 * The text of bytes in GB18030 (with GBK and GB 2312), or null when they are not valid or unlikely: nearly any bytes of another encoding of
 * two bytes are valid, but fall outside of the common characters.
 */
export function gb18030OrNull(bytes: Uint8Array): string | null {
  let pairs = 0;
  let common = 0;
  for (let i = 0; i < bytes.length; i++) {
    const lead = bytes[i];
    if (lead === 0) return null;
    if (lead < 0x81) continue;
    const trail = bytes[i + 1];
    if (trail >= 0x30 && trail <= 0x39) {
      i += 3;
      continue;
    }
    pairs++;
    if (trail >= 0xa1 && (lead === 0xa1 || lead === 0xa3 || (lead >= 0xb0 && lead <= 0xd7))) common++;
    i++;
  }
  if (pairs > 0 && common < LEAST_COMMON_SHARE * pairs) return null;
  try {
    return new TextDecoder("gb18030", STRICT).decode(bytes);
  } catch {
    return null;
  }
}

/** Kinds of files that are no text, by their first bytes. */
const SIGNATURES: readonly (readonly [start: string, name: string])[] = [
  ["%PDF-", "a PDF"],
  ["PK\u0003\u0004", "a zip archive (DOCX, XLSX …)"],
  ["\u001f\u008b", "a gzip file"],
  ["PAR1", "a Parquet file"],
  ["\u00d0\u00cf\u0011\u00e0", "an old Office file (.doc, .xls)"],
  ["\u0089PNG", "a picture"],
  ["\u00ff\u00d8\u00ff", "a picture"],
];

/** What a file that was named otherwise looks like ("a PDF"), or null. */
export function looksLike(bytes: Uint8Array): string | null {
  const start = Buffer.from(bytes.subarray(0, 8)).toString("latin1");
  return SIGNATURES.find(([signature]) => start.startsWith(signature))?.[1] ?? null;
}

/** The text of a whole file, with the encoding that was found. Throws a ReadProblem for bytes that are no text in one of them. */
export function decodeText(bytes: Uint8Array): { text: string; encoding: Encoding } {
  const kind = looksLike(bytes);
  if (kind !== null) throw new ReadProblem(`looks like ${kind}, expected text`);
  const marked = markedEncoding(bytes);
  const encoding = marked ?? "utf-8";
  let text: string | null = null;
  try {
    text = new TextDecoder(encoding, STRICT).decode(bytes);
  } catch {
    if (marked !== null)
      throw new ReadProblem(`begins with the mark of ${marked.toUpperCase()} and is not valid in it`);
  }
  if (text !== null) return { text: withoutNul(text), encoding };
  const chinese = gb18030OrNull(bytes);
  if (chinese !== null) return { text: chinese, encoding: "gb18030" };
  throw new ReadProblem(noEncoding("is"));
}

export const noEncoding = (verb: string): string =>
  `${verb} neither valid UTF-8 nor Chinese text in GB18030, expected one of them, or UTF-16 with a byte-order mark`;

/** Throws a ReadProblem for a NUL: no text has one, every binary file does. */
export function withoutNul(text: string): string {
  const at = text.indexOf("\0");
  if (at >= 0) throw new ReadProblem(`has a NUL character at offset ${at}, expected text`);
  return text;
}
