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

/** The 220 most frequent characters of Chinese novels, laws, news and documentation (60 % of a text), their traditional forms, punctuation. */
const FREQUENT = new Set(
  "的一人是不在有了个中以为他上和用来行这道定下大可我国时法要会出到应本年于得说业也子当公你市理对能作第生之后事地日十关将者发自就动家其过金条或同所们部产民经成方政如三着期面工主文资去被里二保件分设合与等数管进元告务而机那新建实看并天使现据多规门前么月提开险然表只见都位性好内还及起长单司处明置通小心此区又相制高因选重全安没加情场原员任电化向些品知意点头间计已回入两证无由格代信但正名利请外院收物交体从报程力学四配果投美风项持费商王样接示案需太" +
    "個為爲來這國時會應於說業當對後關將發動過條們產經資裡裏設與數進務機實現據規門麼開險見還長單處區選場員電點頭間計兩證無請體從報學風項費樣" +
    "，。、：；“”‘’（）《》！？…—",
);

/** A text of fewer Chinese characters is judged by its bytes. */
const LEAST_WIDE = 40;
/** Share of frequent characters from which a text is Chinese; bytes of Big5, Korean and Japanese give at most 7 %. */
const LEAST_FREQUENT_SHARE = 0.1;
const SURELY_FREQUENT_SHARE = 0.2;
/** Share of the characters of two bytes that are in the first half of GB 2312 (3,755 common characters, punctuation) in a short text. */
const LEAST_COMMON_SHARE = 0.7;
const JUDGED_CHARACTERS = 100_000;

/**
 * The text of bytes in GB18030 (with GBK and GB 2312), or null when they are not valid or unlikely: nearly any bytes of another encoding of
 * two bytes are valid, but become rare characters.
 */
export function gb18030OrNull(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  let text: string;
  try {
    text = new TextDecoder("gb18030", STRICT).decode(bytes);
  } catch {
    return null;
  }
  let wide = 0;
  let frequent = 0;
  for (let i = 0; i < Math.min(text.length, JUDGED_CHARACTERS); i++) {
    if (text.charCodeAt(i) < 0x2010) continue;
    wide++;
    if (FREQUENT.has(text[i])) frequent++;
  }
  const share = frequent / wide;
  if (wide >= LEAST_WIDE) return share >= LEAST_FREQUENT_SHARE ? text : null;
  return wide === 0 || share >= SURELY_FREQUENT_SHARE || commonShare(bytes) >= LEAST_COMMON_SHARE ? text : null;
}

function commonShare(bytes: Uint8Array): number {
  let pairs = 0;
  let common = 0;
  for (let i = 0; i < bytes.length; i++) {
    const [lead, trail] = [bytes[i], bytes[i + 1]];
    if (lead < 0x81) continue;
    if (trail >= 0x30 && trail <= 0x39) {
      i += 3;
      continue;
    }
    pairs++;
    if (trail >= 0xa1 && (lead === 0xa1 || lead === 0xa3 || (lead >= 0xb0 && lead <= 0xd7))) common++;
    i++;
  }
  return pairs === 0 ? 1 : common / pairs;
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
