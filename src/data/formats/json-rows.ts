import { messageOf, showValue, UserError } from "../../base/errors.ts";
import { openToRead, readLines } from "../../base/files.ts";
import { findDuplicateKey } from "../../base/json-text.ts";
import { decodeUtf8 } from "../../base/utf8.ts";

/** A JSON value of a file with the line on which it begins, or what is wrong with it. */
export type JsonRow =
  | { line: number; text: string; value: unknown; problem: null }
  | { line: number; text: string; value: undefined; problem: string };

const MAX_LINE_BYTES = 16_000_000;
/** A list has to be read at once. */
const MAX_LIST_BYTES = 512_000_000;
const FIRST_BYTES = 4096;

/** The rows of a file that is a JSON list or has one JSON value a line. Throws a UserError for a file that is neither. */
export async function* jsonRows(file: string): AsyncGenerator<JsonRow> {
  if (await isList(file)) yield* listRows(file);
  else yield* lineRows(file);
}

/** Whether the first character that is not white space opens a list. */
async function isList(file: string): Promise<boolean> {
  const { handle } = await openToRead(file, "labelled data");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(FIRST_BYTES), 0, FIRST_BYTES, 0);
    const start = buffer
      .subarray(0, bytesRead)
      .toString("utf8")
      .replace(/^\ufeff/, "");
    return start.trimStart().startsWith("[");
  } finally {
    await handle.close();
  }
}

async function* lineRows(file: string): AsyncGenerator<JsonRow> {
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    if (text === null) yield { line: number, text: "", value: undefined, problem: problem as string };
    else if (text.trim() !== "") yield parsedRow(number, text);
  }
}

async function* listRows(file: string): AsyncGenerator<JsonRow> {
  const { handle, sizeBytes } = await openToRead(file, "labelled data");
  try {
    if (sizeBytes > MAX_LIST_BYTES) {
      throw new UserError(`${file}: has ${sizeBytes} bytes, expected a JSON list of at most ${MAX_LIST_BYTES} bytes.`, {
        hint: "Write one row a line (JSONL): jq -c '.[]' IN > OUT",
      });
    }
    const text = decodeUtf8(await handle.readFile(), file);
    let closed = false;
    for (const item of listItems(text)) {
      closed = item.isLast;
      if (item.text.trim() !== "") yield parsedRow(item.line, item.text);
      else if (!item.isLast || item.number > 1) {
        yield {
          line: item.line,
          text: "",
          value: undefined,
          problem: "got nothing between two commas, expected a row",
        };
      }
    }
    if (!closed) throw new UserError(`${file}: the list does not end, expected a whole JSON list.`);
  } finally {
    await handle.close();
  }
}

function parsedRow(line: number, text: string): JsonRow {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return {
      line,
      text,
      value: undefined,
      problem: `got ${showValue(text.trim())}, expected JSON (${messageOf(error)})`,
    };
  }
  const twice = findDuplicateKey(text);
  if (twice === null) return { line, text, value, problem: null };
  return {
    line,
    text,
    value: undefined,
    problem: `got the key ${showValue(twice)} twice in one object, expected it once`,
  };
}

/** The texts between the commas of the outermost list. A broken item ends at the next comma of its level. */
function* listItems(text: string): Generator<{ line: number; number: number; text: string; isLast: boolean }> {
  let depth = 0;
  let line = 1;
  let number = 0;
  let start = text.indexOf("[") + 1;
  let startLine = 0;
  for (let i = start; i < text.length; i++) {
    const character = text[i];
    if (character === "\n") line++;
    if (startLine === 0 && !/\s/.test(character)) startLine = line;
    if (character === '"') {
      for (i++; i < text.length && text[i] !== '"'; i++) {
        if (text[i] === "\\") i++;
        else if (text[i] === "\n") line++;
      }
    } else if (character === "[" || character === "{") depth++;
    else if (depth > 0 && (character === "]" || character === "}")) depth--;
    else if (depth === 0 && (character === "," || character === "]")) {
      number++;
      yield { line: startLine || line, number, text: text.slice(start, i), isLast: character === "]" };
      if (character === "]") return;
      start = i + 1;
      startLine = 0;
    }
  }
}
