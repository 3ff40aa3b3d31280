import { isSpace, isWide } from "../characters.ts";

/** The lines of a paragraph as one text, in time that grows with its length: without spaces in Chinese text, with one between words. */
export function joinLines(lines: readonly string[]): string {
  let before = "";
  const parts: string[] = [];
  for (const line of lines) {
    parts.push(gapBefore(before, line), line);
    if (line !== "") before = line;
  }
  return parts.join("");
}

function gapBefore(before: string, line: string): string {
  if (before === "" || line === "") return "";
  const [last, first] = [before.charCodeAt(before.length - 1), line.charCodeAt(0)];
  const isTight = isSpace(last) || isSpace(first) || isWide(last) || isWide(first) || isChineseQuote(last);
  return isTight ? "" : " ";
}

/** ‘ ’ “ ” and … have the same code in English and in Chinese text. */
const isChineseQuote = (unit: number): boolean => unit >= 0x2018 && unit <= 0x2026;
