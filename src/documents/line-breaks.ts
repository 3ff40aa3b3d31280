import { CLOSER, classOf, isDigit, isSpace, isWide, NEWLINE, TERMINATOR } from "./characters.ts";

/** A wrapped line has at least this width; a Chinese character has 2. */
const LEAST_WIDTH = 40;
/** Wrapped lines differ by this width: a mark that may not begin a line stays on the one before. */
const WIDTH_SPREAD = 4;
/** Longer lines are paragraphs. */
const MOST_WIDTH = 240;

/** The lines between two blank lines. */
interface Block {
  start: number;
  end: number;
  /** The width of its longest line, and how many lines are nearly as long. */
  width: number;
  wideLines: number;
}

/**
 * Tells of a line break at an offset whether it is inside a sentence: the line ends with a comma, or it is one of several lines of equal
 * width, as a mail or a text from a PDF is wrapped. A blank line, an indented line and one that begins like a list are never inside.
 */
export function lineBreakReader(text: string): (at: number) => boolean {
  let block: Block = { start: 0, end: 0, width: 0, wideLines: 0 };
  return (at) => {
    const next = afterBreak(text, at);
    if (next >= text.length || classOf(text.charCodeAt(next)) === NEWLINE) return false;
    if (isSpace(text.charCodeAt(next)) || beginsList(text, next)) return false;
    let last = at - 1;
    while (last > 0 && isSpace(text.charCodeAt(last)) && classOf(text.charCodeAt(last)) !== NEWLINE) last--;
    const unit = text.charCodeAt(last);
    if (unit === 0xff0c || unit === 0x3001) return true; // ，、
    if (
      classOf(unit) === TERMINATOR ||
      (classOf(unit) === CLOSER && classOf(text.charCodeAt(last - 1)) === TERMINATOR)
    ) {
      return false;
    }
    if (at < block.start || at >= block.end) block = blockAt(text, at);
    if (block.wideLines < 2 || block.width < LEAST_WIDTH || block.width > MOST_WIDTH) return false;
    return widthOf(text, lineStart(text, at), at) >= block.width - WIDTH_SPREAD;
  };
}

/** Behind the line break at `at`; CR LF is one. */
function afterBreak(text: string, at: number): number {
  return text.charCodeAt(at) === 0x0d && text.charCodeAt(at + 1) === 0x0a ? at + 2 : at + 1;
}

/** • - * ① 1. 1、 （一） 一、 at the start of a line. */
function beginsList(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  if ("•·-*–—●○■□◆▪#>|（(【".includes(text[at]) || (unit >= 0x2460 && unit <= 0x24ff)) return true;
  let end = at;
  while (
    end - at < 4 &&
    (isDigit(text.charCodeAt(end)) || "一二三四五六七八九十百第章节条".includes(text.charAt(end) || " "))
  )
    end++;
  return end > at && "、.．)）:： ".includes(text.charAt(end) || "\n");
}

function lineStart(text: string, at: number): number {
  let start = at;
  while (start > 0 && at - start <= MOST_WIDTH && classOf(text.charCodeAt(start - 1)) !== NEWLINE) start--;
  return start;
}

function widthOf(text: string, start: number, end: number): number {
  let width = 0;
  for (let i = start; i < end; i++) {
    const unit = text.charCodeAt(i);
    // Both halves of a surrogate pair together are as wide as one Chinese character.
    width += isWide(unit) && (unit & 0xf800) !== 0xd800 ? 2 : 1;
  }
  return width;
}

/** The block that contains the line break at `at`. Its start is searched no further than the text has been read. */
function blockAt(text: string, at: number): Block {
  const start = lineStart(text, at);
  const widths: number[] = [];
  let from = start;
  while (from < text.length) {
    let end = from;
    let isBlank = true;
    for (; end < text.length; end++) {
      const unit = text.charCodeAt(end);
      if (classOf(unit) === NEWLINE) break;
      if (isBlank && !isSpace(unit)) isBlank = false;
    }
    if (isBlank) break;
    widths.push(widthOf(text, from, end));
    from = afterBreak(text, end);
  }
  const width = widths.reduce((most, one) => Math.max(most, one), 0);
  const wideLines = widths.filter((one) => one >= width - WIDTH_SPREAD).length;
  return { start, end: from, width, wideLines };
}
