import { createReadStream } from "node:fs";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { showValue, UserError } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { parseJson } from "../base/json-text.ts";
import { openDataset } from "../data/dataset.ts";
import type { SplitName } from "../data/split.ts";
import { createOverlapIndex } from "./overlap.ts";
import type { PretrainSource } from "./recipe.ts";

const MAX_LINE_BYTES = 16_000_000;
const MAX_DOCUMENT_CHARACTERS = 64_000_000;

/**
 * Streams the documents of a source, in the order of the file. Throws a UserError with file and line for bytes that are not text, a document
 * that is too long, and a line of JSON without text.
 */
export function readDocuments(source: Pick<PretrainSource, "path" | "format">): AsyncGenerator<string> {
  if (source.format === "relations") return trainingSentences(source.path);
  return source.format === "jsonl" ? jsonDocuments(source.path) : textDocuments(source.path);
}

/** The distinct training sentences of a data set that repeat no sentence of its other splits: published sets contain such repeats. */
async function* trainingSentences(directory: string): AsyncGenerator<string> {
  const dataset = await openDataset(directory);
  const sentencesOf = async (name: SplitName) => {
    const { examples } = await dataset.split(name);
    return examples.map(({ sentence }) => sentence);
  };
  const others: string[] = [];
  for (const name of dataset.splitNames) if (name !== "train") others.push(...(await sentencesOf(name)));
  const index = createOverlapIndex(others);
  for (const sentence of new Set(await sentencesOf("train"))) if (!index.repeats(sentence)) yield sentence;
}

async function* textDocuments(file: string): AsyncGenerator<string> {
  let lines: string[] = [];
  let length = 0;
  for await (const { number, text } of linesOf(file)) {
    if (text.trim() === "") {
      if (lines.length > 0) yield lines.join("\n");
      lines = [];
      length = 0;
      continue;
    }
    lines.push(text);
    length += text.length + 1;
    if (length > MAX_DOCUMENT_CHARACTERS) {
      throw new UserError(
        `${file}, line ${number}: the document has more than ${MAX_DOCUMENT_CHARACTERS} characters.`,
        { hint: "Documents are separated by blank lines." },
      );
    }
  }
  if (lines.length > 0) yield lines.join("\n");
}

async function* jsonDocuments(file: string): AsyncGenerator<string> {
  for await (const { number, text } of linesOf(file)) {
    if (text.trim() === "") continue;
    const value = parseJson(text, `${file}, line ${number}:`, { hint: 'Each line is one object: {"text": "…"}.' });
    const document = (value as { text?: unknown } | null)?.text;
    if (typeof document !== "string") {
      throw new UserError(`${file}, line ${number}: "text" is ${showValue(document)}, expected a string.`);
    }
    if (document !== "") yield document;
  }
}

async function* linesOf(file: string): AsyncGenerator<{ number: number; text: string }> {
  const stream = createReadStream(file, { highWaterMark: 1 << 18 });
  // A pipeline passes an error of the file on to the reader of the lines.
  const lines = file.endsWith(".gz") ? pipeline(stream, createGunzip(), () => {}) : stream;
  try {
    for await (const { number, text, problem } of readLines(lines, { maxLineBytes: MAX_LINE_BYTES })) {
      if (text === null) throw new UserError(`${file}, line ${number}: ${problem}.`);
      yield { number, text };
    }
  } catch (error) {
    // A stream has no name.
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.message.replace(/^standard input:/, `${file}:`), { hint: error.hint, cause: error });
  } finally {
    stream.destroy();
  }
}
