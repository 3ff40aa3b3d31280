import { isSpace, isWide } from "../characters.ts";

/** Appends a line to the text of its paragraph: without a space in Chinese text, with one between words. */
export function joinLine(paragraph: string, line: string): string {
  if (paragraph === "" || line === "") return paragraph + line;
  const [last, first] = [paragraph.charCodeAt(paragraph.length - 1), line.charCodeAt(0)];
  const isTight = isSpace(last) || isSpace(first) || isWide(last) || isWide(first) || isChineseQuote(last);
  return isTight ? paragraph + line : `${paragraph} ${line}`;
}

/** ‘ ’ “ ” and … have the same code in English and in Chinese text. */
const isChineseQuote = (unit: number): boolean => unit >= 0x2018 && unit <= 0x2026;
