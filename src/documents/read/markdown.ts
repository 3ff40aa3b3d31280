import { wholeText } from "./bytes.ts";
import { addTo, type DocumentFormat } from "./format.ts";
import { decodeEntities } from "./html.ts";
import { joinLines } from "./joined-lines.ts";

/** Paragraphs, headings, list items and cells of tables as lines with a blank line between blocks. Code blocks are left out and counted. */
export const markdown: DocumentFormat = {
  extensions: ["md", "markdown"],
  async *read(source, context) {
    const { text, codeBlocks } = markdownText(await wholeText(source, context));
    addTo(context.counts.dropped, "code blocks", codeBlocks);
    yield { id: source.id, text, fields: {} };
  },
};

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const FRONT_MATTER = /^---\r?\n[\s\S]*?\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$)/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const REFERENCE = /^ {0,3}\[[^\]]{1,200}\]:\s*\S+/;
const MAX_FRONT_MATTER_CHARACTERS = 20_000;

/** The text that a reader of the rendered page sees, without code blocks. Wrapped lines of a paragraph are joined. */
export function markdownText(source: string): { text: string; codeBlocks: number } {
  const head = FRONT_MATTER.exec(source.slice(0, MAX_FRONT_MATTER_CHARACTERS));
  const lines = source.slice(head?.[0].length ?? 0).split(/\r\n|\n|\r/);
  const blocks: string[] = [];
  let paragraph: string[] = [];
  let codeBlocks = 0;
  const endParagraph = () => {
    if (paragraph.length > 0) blocks.push(inlineText(joinLines(paragraph)));
    paragraph = [];
  };
  for (let i = 0; i < lines.length; i++) {
    const fence = FENCE.exec(lines[i])?.[1];
    if (fence !== undefined) {
      endParagraph();
      codeBlocks++;
      const closing = new RegExp(`^ {0,3}\\${fence[0]}{${Math.min(fence.length, 1000)},}\\s*$`);
      do i++;
      while (i < lines.length && !closing.test(lines[i]));
      continue;
    }
    const quoted = lines[i].replace(/^\s*(?:>\s?)+/, "");
    const line = quoted.trim();
    if (line === "" || REFERENCE.test(quoted) || /^(?:[-*_]\s*){3,}$/.test(line) || /^=+$/.test(line)) endParagraph();
    else if (line.includes("|") && (line.startsWith("|") || TABLE_RULE.test(lines[i + 1] ?? "") || isRow(lines, i))) {
      endParagraph();
      if (!TABLE_RULE.test(line)) blocks.push(cellsOf(line));
    } else if (/^#{1,6}\s/.test(line)) {
      endParagraph();
      blocks.push(inlineText(line.replace(/^#{1,6}\s+/, "").replace(/\s+#+$/, "")));
    } else if (/^(?:[-*+]|\d{1,9}[.)])\s/.test(line)) {
      endParagraph();
      paragraph = [line.replace(/^[-*+]\s+(?:\[[ xX]\]\s+)?/, "")];
    } else paragraph.push(line.replace(/\\$/, ""));
  }
  endParagraph();
  return { text: blocks.filter((block) => block !== "").join("\n\n"), codeBlocks };
}

/** Whether a line with | continues a table: the line before is a row or the rule under the head. */
function isRow(lines: readonly string[], i: number): boolean {
  for (let above = i - 1; above >= 0 && above > i - 1000 && lines[above].includes("|"); above--) {
    if (TABLE_RULE.test(lines[above])) return true;
  }
  return false;
}

function cellsOf(row: string): string {
  const cells = row
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "")
    .split(/(?<!\\)\|/);
  return cells.map((cell) => inlineText(cell.trim().replaceAll("\\|", "|"))).join("\t");
}

/** Text without the marks of emphasis, links, pictures, code and HTML. The bounds keep the patterns from taking quadratic time. */
function inlineText(text: string): string {
  const plain = text
    .replace(/!\[[^\]]{0,300}\](?:\([^)]{0,500}\)|\[[^\]]{0,200}\])/g, "")
    .replace(/\[([^\]]{1,300})\](?:\([^)]{0,500}\)|\[[^\]]{0,200}\])/g, "$1")
    .replace(/<(https?:[^>\s]{1,2000})>/g, "$1")
    .replace(/<!--[\s\S]{0,500}?-->/g, "")
    .replace(/<\/?[A-Za-z][^<>]{0,1000}>/g, "")
    .replace(/(`{1,3})([^`]{1,300})\1/g, "$2")
    .replace(/(\*{1,3}|~~)(?=\S)([^*~]{1,300}?\S?)\1/g, "$2")
    .replace(/(?<![\p{L}\p{N}_])(_{1,3})(?=\S)([^_]{1,300}?)\1(?![\p{L}\p{N}_])/gu, "$2")
    .replace(/\\([!-/:-@[-`{-~])/g, "$1");
  return decodeEntities(plain.replace(/ {2,}/g, " ")).trim();
}
