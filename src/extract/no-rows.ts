import { open } from "node:fs/promises";
import { UserError, UserErrors } from "../base/errors.ts";

const HEAD_BYTES = 4096;
const MAX_SHOWN_PROBLEMS = 3;
const EXPECTED = 'expected JSONL: one object a line, {"sentence", "head", "tail"}';

export function noRows(name: string): UserError {
  return new UserError(`${name}: is empty, expected JSONL rows.`);
}

/** The error for an input of which not one row could be used; `head` are its first bytes, which often tell what it is instead. */
export function noUsableRows(
  name: string,
  rows: number,
  problems: readonly { line: number; problem: string }[],
  head: Uint8Array,
): UserError {
  const shown = problems.slice(0, MAX_SHOWN_PROBLEMS).map(({ line, problem }) => `line ${line}: ${problem}.`);
  if (rows > shown.length) shown.push(`… and ${rows - shown.length} more`);
  const title = `${name}: not one of its ${rows} rows can be used, ${EXPECTED}.`;
  return new UserErrors(title, shown, { hint: formatHint(head) });
}

/** The first bytes of a file for {@link noUsableRows}. */
export async function headOfFile(file: string): Promise<Uint8Array> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** A stream that keeps its first bytes. */
export function keepingHead(stream: NodeJS.ReadableStream): { stream: AsyncIterable<Buffer>; head: () => Uint8Array } {
  let head = Buffer.alloc(0);
  async function* passing(): AsyncGenerator<Buffer> {
    for await (const chunk of stream) {
      const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
      if (head.length < HEAD_BYTES) head = Buffer.concat([head, bytes.subarray(0, HEAD_BYTES - head.length)]);
      yield bytes;
    }
  }
  return { stream: passing(), head: () => head };
}

/** What a file seems to be that is not JSONL, and the next step. */
function formatHint(head: Uint8Array): string {
  const startsWith = (...bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
  if (startsWith(0x1f, 0x8b)) return "It is compressed with gzip. Unpack it first: gunzip -c IN > OUT";
  if (startsWith(0x50, 0x4b, 0x03, 0x04))
    return "It is a ZIP archive or an Excel file. Unpack it, or save it as JSONL.";
  if (startsWith(0xff, 0xfe) || startsWith(0xfe, 0xff)) {
    return "It is UTF-16. Convert it first: iconv -f UTF-16 -t UTF-8 IN > OUT";
  }
  let text: string;
  try {
    // The last character may be cut off.
    text = new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: true }).trimStart();
  } catch {
    return "It is not UTF-8. Convert the file first, for example: iconv -f GB18030 -t UTF-8 IN > OUT";
  }
  const first = text.split("\n")[0];
  if (text.startsWith("[")) return "It is a JSON array, expected one object a line: jq -c '.[]' IN > OUT";
  if (text.startsWith("{") && !first.trimEnd().endsWith("}") && head.length < HEAD_BYTES) {
    return "Its objects have several lines, expected one object a line: jq -c . IN > OUT";
  }
  if (!text.startsWith("{") && first.includes("\t"))
    return "It looks like TSV. Write each row as one JSON object a line.";
  if (!text.startsWith("{") && first.includes(","))
    return "It looks like CSV. Write each row as one JSON object a line.";
  return "Is this the right format?";
}
