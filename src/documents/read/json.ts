import { messageOf, showValue } from "../../base/errors.ts";
import { exactNumber, findDuplicateKey, readMembers } from "../../base/json-text.ts";
import { quoted } from "../../data/example.ts";
import { sourceLines, wholeText } from "./bytes.ts";
import type { DocumentFormat, ReadContext, ReadItem } from "./format.ts";
import { ReadProblem } from "./limits.ts";
import { rowDocument } from "./rows.ts";

/** One document a line: an object with a text, or a text. */
export const jsonl: DocumentFormat = {
  extensions: ["jsonl", "ndjson"],
  async *read(source, context) {
    for await (const { number, text, problem } of sourceLines(source, context)) {
      if (text?.trim() === "") continue;
      const id = `${source.id}#${number}`;
      if (text === null) yield { bad: { id, reason: problem as string } };
      else yield itemOf(id, () => rowOfText(text), context);
    }
  },
};

/** A list of objects or texts, or one object with a text. The number behind # counts the items of the list. */
export const json: DocumentFormat = {
  extensions: ["json"],
  async *read(source, context) {
    const text = await wholeText(source, context);
    const value = parsed(text);
    if (!Array.isArray(value)) yield itemOf(source.id, () => rowOfText(text), context);
    else for (const [i, item] of value.entries()) yield itemOf(`${source.id}#${i + 1}`, () => rowOf(item), context);
  },
};

function itemOf(id: string, row: () => Record<string, unknown>, { textField, limits }: ReadContext): ReadItem {
  try {
    const object = row();
    if (isDeeperThan(object, limits.jsonDepth)) {
      throw new ReadProblem(`is nested deeper than ${limits.jsonDepth} levels (limit jsonDepth)`);
    }
    return { id, ...rowDocument(object, textField, limits) };
  } catch (error) {
    if (!(error instanceof ReadProblem)) throw error;
    return { bad: { id, reason: error.message } };
  }
}

function parsed(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ReadProblem(`is not JSON (${messageOf(error)})`);
  }
  const twice = findDuplicateKey(text);
  if (twice !== null) throw new ReadProblem(`has the key ${quoted(twice)} twice in one object, expected it once`);
  return value;
}

/** The row in a text of JSON. Whole numbers beyond 2^53 become bigints, which keep all digits. */
function rowOfText(text: string): Record<string, unknown> {
  const row = rowOf(parsed(text));
  for (const [key, value] of Object.entries(row)) {
    if (typeof value !== "number" || Number.isSafeInteger(value)) continue;
    const exact = exactNumber(readMembers(text).get(key) ?? "0");
    if (exact !== null) row[key] = exact;
  }
  return row;
}

function rowOf(value: unknown): Record<string, unknown> {
  if (typeof value === "string") return { text: value };
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ReadProblem(`has ${showValue(value)}, expected an object with a text`);
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(item, levels - 1));
}
