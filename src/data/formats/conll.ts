import { readLines } from "../../base/files.ts";
import { quoted } from "../example.ts";
import { badRow, emptyRow, type LabelledFormat, type LabelledRow, type Mention } from "./labelled.ts";
import { joinTokens } from "./tokens.ts";

const MAX_LINE_BYTES = 1_000_000;
const MAX_TOKENS = 10_000;

/**
 * BIO tags with relations in columns, as Bekoulis et al. (2018) wrote CoNLL04: number, token, tag, labels ['Work_For'], numbers [5] of the
 * last token of the other name. Sentences end with a blank line or with a line that begins with #doc. Labels are on the last token of the
 * name that is the head; ['N'] is none.
 */
export const conll: LabelledFormat = {
  title: "CoNLL columns with relations",
  expected: "number, token, BIO tag, ['LABEL'] and [number] with TABs between them, a blank line between sentences",
  extensions: ["txt", "conll", "bio", "tsv"],
  isDocument: false,
  async *read(file) {
    let rows: TokenRow[] = [];
    let fault: string | null = null;
    let first = 0;
    let id: string | undefined;
    const sentence = function* (): Generator<LabelledRow> {
      if (fault !== null) yield badRow(first, fault);
      else if (rows.length > 0) yield readSentence(first, rows, id);
      [rows, fault, first, id] = [[], null, 0, undefined];
    };
    for await (const { number, text, problem } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
      const isDoc = text?.startsWith("#doc") === true;
      if (isDoc || text?.trim() === "") {
        yield* sentence();
        if (isDoc) id = text?.slice(4).trim() || undefined;
        continue;
      }
      if (first === 0) first = number;
      if (fault !== null) continue;
      const row = text === null ? (problem as string) : parseToken(text, rows.length);
      if (typeof row === "string") fault = `line ${number}: ${row}`;
      else if (rows.length === MAX_TOKENS)
        fault = `got more than ${MAX_TOKENS} tokens, expected a blank line between sentences`;
      else rows.push(row);
    }
    yield* sentence();
  },
};

interface TokenRow {
  token: string;
  tag: string;
  labels: string[];
  others: number[];
}

function parseToken(text: string, index: number): TokenRow | string {
  const columns = text.split("\t").map((column) => column.trim());
  if (columns.length !== 5) {
    return `got ${columns.length} columns in ${quoted(text)}, expected 5: number, token, tag, labels, numbers`;
  }
  const [number, token, tag, labelList, otherList] = columns;
  if (Number(number) !== index) return `got the number ${quoted(number)}, expected ${index}`;
  if (!/^(?:O|[BIES]-.+)$/.test(tag)) return `got the tag ${quoted(tag)}, expected O, B-TYPE or I-TYPE`;
  const labels = listItems(labelList);
  const others = listItems(otherList)?.map(Number);
  if (labels === null || others === undefined || labels.length !== others.length) {
    return `got ${quoted(`${labelList} ${otherList}`)}, expected two lists of equal length such as ['N'] [${index}]`;
  }
  return { token, tag, labels, others };
}

/** The items of a list as Python writes it; null for something else. */
function listItems(text: string): string[] | null {
  const inside = /^\[(.*)\]$/.exec(text)?.[1].trim();
  if (inside === undefined) return null;
  return inside === "" ? [] : inside.split(",").map((item) => item.trim().replace(/^(['"])(.*)\1$/, "$2"));
}

function readSentence(line: number, rows: readonly TokenRow[], id: string | undefined): LabelledRow {
  const { text, starts, ends } = joinTokens(rows.map(({ token }) => token));
  const mentions: Mention[] = [];
  /** Index of the mention by its last token. */
  const byLast = new Map<number, number>();
  for (let i = 0; i < rows.length; ) {
    if (rows[i].tag === "O") {
      i++;
      continue;
    }
    const type = rows[i].tag.slice(2);
    let end = i + 1;
    while (end < rows.length && rows[end].tag.slice(2) === type && /^[IE]/.test(rows[end].tag)) end++;
    byLast.set(end - 1, mentions.length);
    mentions.push({ start: starts[i], end: ends[end - 1], type });
    i = end;
  }
  const relations: { head: number; tail: number; label: string }[] = [];
  for (const [i, { labels, others }] of rows.entries()) {
    for (const [k, label] of labels.entries()) {
      if (label === "N") continue;
      const [head, tail] = [byLast.get(i), byLast.get(others[k])];
      if (head === undefined || tail === undefined) {
        return badRow(
          line,
          `got ${quoted(label)} from token ${i} to ${others[k]}, expected the last tokens of two names`,
        );
      }
      relations.push({ head, tail, label });
    }
  }
  return { ...emptyRow(line), texts: [{ text, mentions, relations, ...(id === undefined ? {} : { id }) }] };
}
