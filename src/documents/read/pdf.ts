import { wholeBytes } from "./bytes.ts";
import { looksLike } from "./encoding.ts";
import { addTo, type DocumentFormat } from "./format.ts";
import { withoutGlyphCharacters } from "./glyph-characters.ts";
import { joinLines } from "./joined-lines.ts";
import { ReadProblem } from "./limits.ts";
import type { PdfPiece } from "./parse-worker.ts";

/** The text layer: lines of a paragraph are joined, a blank line between paragraphs; page numbers and running heads are left out and counted. */
export const pdf: DocumentFormat = {
  extensions: ["pdf"],
  async *read(source, context) {
    const bytes = await wholeBytes(source, context);
    const kind = looksLike(bytes);
    if (kind !== null && kind !== "a PDF") throw new ReadProblem(`looks like ${kind}, expected a PDF`);
    const parsed = await context.worker.pdf(bytes);
    if (parsed.tooLong) {
      const { textCharacters } = context.limits;
      throw new ReadProblem(`has more than ${textCharacters} characters, expected at most that (limit textCharacters)`);
    }
    const { text, pageNumbers, runningHeads } = pdfText(parsed.pages);
    if (parsed.missingMaps.length > 0) {
      const maps = parsed.missingMaps.join(", ");
      const reason = `has fonts with the character map ${maps}, whose text cannot be read; save it anew with another program`;
      if (text.trim() === "") throw new ReadProblem(reason);
      context.notice(`${source.id}: ${reason}. The text of other fonts was read.`);
    }
    if (parsed.hasMadeMap && strangeShare(text) > MOST_STRANGE) {
      throw new ReadProblem(
        "has fonts without a map to Unicode, whose text cannot be read; save it anew with another program",
      );
    }
    if (text.trim() === "") {
      throw new ReadProblem(`has no text layer on its ${parsed.pages.length} pages: pictures of text need OCR first`);
    }
    addTo(context.counts.dropped, "page numbers", pageNumbers);
    addTo(context.counts.dropped, "running heads", runningHeads);
    yield { id: source.id, text, fields: {} };
  },
};

/** Share of letters of other scripts from which a text is nonsense: numbers of glyphs that were read as characters. */
const MOST_STRANGE = 0.05;

function strangeShare(text: string): number {
  return (text.match(/[\u0400-\u1fff]/g)?.length ?? 0) / Math.max(1, text.length);
}

interface Line {
  text: string;
  left: number;
  right: number;
  /** The baseline; grows upwards. */
  y: number;
  height: number;
}

const PAGE_NUMBER = /^[-–—·.\s]*(?:第\s*)?\d{1,5}(?:\s*页)?(?:\s*[/／]\s*(?:共\s*)?\d{1,5}(?:\s*页)?)?[-–—·.\s]*$/;
const ENDS = /[。！？!?…：:；;][”’」』）)》]*$/;

/** The paragraphs of a PDF. A paragraph may continue on the next page. */
export function pdfText(pages: readonly (readonly PdfPiece[])[]): {
  text: string;
  pageNumbers: number;
  runningHeads: number;
} {
  const paragraphs: string[][] = [];
  const { kept, pageNumbers, runningHeads } = withoutMargins(pages.map(linesOf));
  /** The last line of the open paragraph, and the right margin of its page. */
  let before: { line: Line; right: number } | null = null;
  for (const lines of kept) {
    const left = lines.reduce((least, line) => Math.min(least, line.left), Number.POSITIVE_INFINITY);
    const right = lines.reduce((most, line) => Math.max(most, line.right), Number.NEGATIVE_INFINITY);
    let isFirst = true;
    for (const line of lines) {
      const joins = before !== null && continues(before.line, line, before.right, left, isFirst);
      if (joins) paragraphs.at(-1)?.push(line.text);
      else paragraphs.push([line.text]);
      before = { line, right };
      isFirst = false;
    }
  }
  const text = paragraphs.map(joinLines).join("\n\n");
  return { text: withoutGlyphCharacters(text), pageNumbers, runningHeads };
}

/** The first and last lines of a page that may be a head or a foot. */
const MARGIN_LINES = 2;
/** A line that is on this number of pages, and on this share of them, is a running head. */
const LEAST_PAGES = 3;
const LEAST_SHARE = 0.3;

/** Pages without their page numbers and without lines that are at the same place of several pages and differ in digits only. */
function withoutMargins(pages: readonly Line[][]): { kept: Line[][]; pageNumbers: number; runningHeads: number } {
  const marginsOf = (lines: readonly Line[]) => {
    const byHeight = [...lines].sort((a, b) => b.y - a.y);
    return new Set([...byHeight.slice(0, MARGIN_LINES), ...byHeight.slice(-MARGIN_LINES)]);
  };
  const keyOf = ({ text, y }: Line) => `${Math.round(y)} ${text.replace(/\d+/g, "0")}`;
  const margins = pages.map(marginsOf);
  const times = new Map<string, number>();
  for (const lines of margins) for (const line of lines) times.set(keyOf(line), (times.get(keyOf(line)) ?? 0) + 1);
  const least = Math.max(LEAST_PAGES, LEAST_SHARE * pages.length);
  let pageNumbers = 0;
  let runningHeads = 0;
  const kept = pages.map((lines, page) =>
    lines.filter((line) => {
      if (!margins[page].has(line)) return true;
      if (lines.length > 1 && PAGE_NUMBER.test(line.text)) pageNumbers++;
      else if ((times.get(keyOf(line)) ?? 0) >= least) runningHeads++;
      else return true;
      return false;
    }),
  );
  return { kept, pageNumbers, runningHeads };
}

/** A shorter line is no line of a paragraph. */
const LEAST_EMS = 10;

/** Whether a line continues the paragraph of the one before: that one is full, and this one is neither indented nor far below. */
function continues(before: Line, line: Line, right: number, left: number, isNewPage: boolean): boolean {
  const size = Math.max(1, before.height);
  if (before.right - before.left < LEAST_EMS * size) return false;
  if (before.right < right - 2 * size) return false;
  if (line.left > left + size) return false;
  if (Math.abs(line.height - before.height) > 0.2 * size) return false;
  if (isNewPage) return !ENDS.test(before.text);
  const gap = before.y - line.y;
  return gap > 0 && gap < 2.2 * size;
}

/** Pieces of a page as lines: those of one baseline, from left to right. */
function linesOf(pieces: readonly PdfPiece[]): Line[] {
  const lines: Line[] = [];
  let line: Line | null = null;
  let isEnded = true;
  for (const { text, x, y, width, height, endsLine } of pieces) {
    if (text !== "") {
      const isSame: boolean =
        line !== null && !isEnded && Math.abs(y - line.y) <= 0.5 * Math.max(height, line.height, 1);
      if (line === null || !isSame) {
        if (text.trim() !== "") {
          line = { text: text.trimStart(), left: x, right: x + width, y, height };
          lines.push(line);
          isEnded = false;
        }
      } else {
        line.text += text;
        if (text.trim() !== "") {
          line.right = Math.max(line.right, x + width);
          line.height = Math.max(line.height, height);
        }
      }
    }
    if (endsLine) isEnded = true;
  }
  for (const one of lines) one.text = one.text.trimEnd();
  return lines.filter(({ text }) => text !== "");
}
