import type { Readable } from "node:stream";
import type { BadDocument, Document } from "../document.ts";
import type { ReadLimits } from "./limits.ts";
import type { ParseWorker } from "./parse-worker.ts";

/** A document, or one that could not be read. */
export type ReadItem = Document | { bad: BadDocument };

/** A file, or standard input. */
export interface Source {
  id: string;
  /** Null for standard input. */
  path: string | null;
  isGzip: boolean;
  /** Its bytes, not decompressed. */
  open(): Readable;
}

/** What was read from files before an interruption, in the order of the files: they are not parsed again. */
export interface KeptFiles {
  take(key: string): Promise<unknown>;
  add(key: string, value: unknown): Promise<void>;
}

/** What one reading needs besides the file. */
export interface ReadContext {
  limits: ReadLimits;
  /** Path of the text in a row ("a.b"); null for the usual names. */
  textField: string | null;
  counts: ReadCounts;
  notice(text: string): void;
  worker: ParseWorker;
  /** What an interrupted reading of the same files parsed. */
  kept?: KeptFiles;
}

/** files = files with documents + those without; bad documents are counted each. */
export interface ReadCounts {
  files: number;
  documents: number;
  bad: number;
  /** Documents without a character that is not white space. */
  empty: number;
  /** Files that were read as GB18030. */
  gb18030: number;
  /** Files of a folder that were left out, by reason: the ending of an unknown format, "hidden", "link", "repeated". */
  skipped: Record<string, number>;
  /** Parts of documents that were left out: code blocks of Markdown, page numbers of PDF. */
  dropped: Record<string, number>;
}

export const emptyReadCounts = (): ReadCounts => ({
  files: 0,
  documents: 0,
  bad: 0,
  empty: 0,
  gb18030: 0,
  skipped: {},
  dropped: {},
});

export function addTo(counts: Record<string, number>, key: string, number = 1): void {
  if (number > 0) counts[key] = (counts[key] ?? 0) + number;
}

/** One format: what names it and how a file of it becomes documents. */
export interface DocumentFormat {
  /** Endings of file names, without the dot. */
  extensions: readonly string[];
  /** Yields documents; throws a ReadProblem, or any error of a parser, for a file that cannot be read further. */
  read(source: Source, context: ReadContext): AsyncGenerator<ReadItem>;
}
