import { simplified } from "./traditional.ts";

/** Format characters (zero-width space, byte-order mark, soft hyphen, direction marks) and variation selectors: nothing is drawn for them. */
const INVISIBLE = /[\p{Cf}\p{Cc}]|\p{Variation_Selector}/gu;
const MAX_NAMED = 3;
/** Longer texts are not compared, so that a message costs little. */
const MAX_CHARS = 100_000;

/**
 * Why a text seems to be part of another one but is not: invisible characters, normalisation, width, letter case, white space, traditional
 * forms. Null when it is another text.
 */
export function textDifference(whole: string, part: string): string | null {
  if (whole.length > MAX_CHARS || part.length > MAX_CHARS) return null;
  const isPart = (fold: (text: string) => string) => fold(part) !== "" && fold(whole).includes(fold(part));
  const visible = (text: string) => text.replace(INVISIBLE, "");
  if (isPart(visible)) return `it is there but for invisible characters: ${namesOf(whole, part)}`;
  if (isPart((text) => text.normalize("NFC"))) {
    return "the same text after Unicode normalisation: combining marks are written in two ways; data.normalize: nfc reads them alike";
  }
  if (isPart((text) => text.normalize("NFKC"))) {
    return "the same text after normalisation NFKC: full-width, half-width or other compatibility characters; data.normalize: nfkc reads them alike";
  }
  const plain = (text: string) => visible(text.normalize("NFKC"));
  if (isPart(plain))
    return `the same text after normalisation NFKC and without invisible characters: ${namesOf(whole, part)}`;
  if (isPart((text) => plain(text).toLowerCase())) return "the same text but for upper and lower case";
  if (isPart((text) => plain(text).replace(/\s+/g, ""))) return "the same text but for white space";
  if (isPart((text) => simplified(plain(text)))) return "the same text but for traditional and simplified characters";
  return null;
}

/** The invisible characters of the sentence or of the entity, as U+200B. */
function namesOf(whole: string, part: string): string {
  const found = [...new Set([...(part.match(INVISIBLE) ?? []), ...(whole.match(INVISIBLE) ?? [])])];
  const names = found.slice(0, MAX_NAMED).map((character) => {
    const code = (character.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0");
    return `U+${code}`;
  });
  return `${names.join(", ")}${found.length > names.length ? " …" : ""}`;
}
