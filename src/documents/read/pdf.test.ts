import { expect, it } from "vitest";
import type { PdfPiece } from "./parse-worker.ts";
import { pdfText } from "./pdf.ts";

/** Pages of full lines, which are one paragraph. */
function pagesOf(lines: readonly string[], perPage: number): PdfPiece[][] {
  const pages: PdfPiece[][] = [];
  for (let start = 0; start < lines.length; start += perPage) {
    pages.push(
      lines.slice(start, start + perPage).map((text, i) => ({
        ...{ text, x: 72, y: 800 - 12 * i, width: 400, height: 10, endsLine: true },
      })),
    );
  }
  return pages;
}

it("joins a paragraph of 200,000 lines in time that grows with its length", () => {
  const line = (i: number) =>
    `这一段很长，它的第${String.fromCodePoint(0x4e00 + (i % 20_000))}行没有句号而且一直写到右边`;
  const lines = Array.from({ length: 200_000 }, (_, i) => line(i));
  const started = performance.now();
  const { text } = pdfText(pagesOf(lines, 500));
  // Copying the paragraph for every line would take minutes.
  expect(performance.now() - started).toBeLessThan(20_000);
  expect(text).toBe(lines.join(""));
});

it("joins the lines of a page with more lines than a call can have arguments", () => {
  const lines = Array.from({ length: 150_000 }, (_, i) => `word${i} and others that fill the line`);
  expect(pdfText(pagesOf(lines, lines.length)).text.split("\n\n").join(" ")).toBe(lines.join(" "));
});
