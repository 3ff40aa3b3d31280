import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { messageOf, UserError } from "../../base/errors.ts";
import {
  addTo,
  emptyReadCounts,
  type KeptFiles,
  type ReadContext,
  type ReadCounts,
  type ReadItem,
  type Source,
} from "./format.ts";
import {
  DOCUMENT_FORMAT_NAMES,
  DOCUMENT_FORMATS,
  type DocumentFormatName,
  formatOfName,
  isGzipName,
  KNOWN_ENDINGS,
} from "./formats.ts";
import { type InputFile, inputFiles, openInputs } from "./inputs.ts";
import { readKept } from "./kept-files.ts";
import { expectWithin, READ_LIMITS, type ReadLimits } from "./limits.ts";
import { openParseWorker } from "./parse-worker.ts";

export interface ReadOptions {
  /** The format of all files; "auto", the default, goes by the ending of each name. Standard input needs one. */
  format?: DocumentFormatName | "auto";
  /** Field of a row that has the text, "a.b" for one inside another; default text, content, sentence, 正文, 内容. */
  textField?: string;
  limits?: Partial<ReadLimits>;
  /** Counted while reading; see {@link emptyReadCounts}. */
  counts?: ReadCounts;
  /** Receives what a user should know: a file was read as GB18030. */
  onNotice?(notice: string): void;
  /** What an interrupted reading of the same files parsed. */
  kept?: KeptFiles;
  /** What "-" reads; default process.stdin. */
  stdin?: Readable;
}

/**
 * Reads documents from files, folders, patterns (`news/*.html`) and standard input (`-`), one after the other, with flat memory. A file that
 * cannot be read, or a row of one, comes as a bad document with its reason and never ends the reading. Throws UserErrors at the start for
 * inputs that do not exist, and a UserError for standard input without a format.
 */
export async function* readDocuments(inputs: readonly string[], options: ReadOptions = {}): AsyncGenerator<ReadItem> {
  const { format = "auto", textField = null, counts = emptyReadCounts(), onNotice = () => {} } = options;
  const limits: ReadLimits = { ...READ_LIMITS, ...options.limits };
  if (inputs.length === 0) throw new UserError("No documents are given, expected files, folders, patterns or -.");
  if (inputs.includes("-") && format === "auto") {
    throw new UserError(
      "Standard input has no name that says its format, expected --format with one of: " +
        `${DOCUMENT_FORMAT_NAMES.join(", ")}.`,
    );
  }
  const opened = await openInputs(inputs.filter((input) => input !== "-"));
  const worker = openParseWorker(limits);
  const context: ReadContext = { limits, textField, counts, notice: onNotice, worker, kept: options.kept };
  try {
    if (inputs.includes("-") && format !== "auto") {
      const stdin = options.stdin ?? process.stdin;
      yield* readSource({ id: "-", path: null, isGzip: false, open: () => stdin }, format, context);
    }
    for await (const file of inputFiles(opened, context)) {
      if ("bad" in file) {
        counts.bad++;
        yield file;
      } else yield* readFile(file, format, context);
    }
  } finally {
    await worker.close();
  }
}

async function* readFile(
  file: InputFile,
  wanted: DocumentFormatName | "auto",
  context: ReadContext,
): AsyncGenerator<ReadItem> {
  const { id, path, isNamed } = file;
  const format = wanted === "auto" ? formatOfName(path) : wanted;
  if (format === null && !isNamed) {
    addTo(context.counts.skipped, /\.[^./\\]{1,20}$/.exec(path)?.[0].toLowerCase() ?? "no ending");
    return;
  }
  if (format === null) {
    context.counts.files++;
    context.counts.bad++;
    const reason = `has no ending of a known format, expected one of ${KNOWN_ENDINGS}, or the format named with --format`;
    yield { bad: { id, reason } };
    return;
  }
  const source = { id, path, isGzip: isGzipName(path), open: () => createReadStream(path) };
  yield* readKept(source, format, context, (own) => readSource(source, format, own));
}

/** Formats that are not read at once have no bound on the size of a file. */
const STREAMED: ReadonlySet<DocumentFormatName> = new Set(["csv", "tsv", "jsonl", "parquet"]);

async function* readSource(source: Source, format: DocumentFormatName, context: ReadContext): AsyncGenerator<ReadItem> {
  const { counts, limits } = context;
  counts.files++;
  try {
    if (source.path !== null && !source.isGzip && !STREAMED.has(format)) {
      expectWithin(limits, "wholeFileBytes", (await stat(source.path)).size, "bytes");
    }
    for await (const item of DOCUMENT_FORMATS[format].read(source, context)) {
      if ("bad" in item) counts.bad++;
      else if (item.text.trim() === "") {
        counts.empty++;
        continue;
      } else counts.documents++;
      yield item;
    }
  } catch (error) {
    // Whatever a parser throws for a broken file costs this file and not the others.
    counts.bad++;
    yield { bad: { id: source.id, reason: messageOf(error) } };
  }
}
