import { csv, tsv } from "./csv.ts";
import { docx } from "./docx.ts";
import type { DocumentFormat } from "./format.ts";
import { html } from "./html.ts";
import { json, jsonl } from "./json.ts";
import { markdown } from "./markdown.ts";
import { parquet } from "./parquet.ts";
import { pdf } from "./pdf.ts";
import { plainText } from "./text.ts";

/** Every format that is read; a new one is a file and a line. */
export const DOCUMENT_FORMATS = {
  text: plainText,
  markdown,
  html,
  csv,
  tsv,
  json,
  jsonl,
  parquet,
  docx,
  pdf,
} as const satisfies Record<string, DocumentFormat>;

export type DocumentFormatName = keyof typeof DOCUMENT_FORMATS;

export const DOCUMENT_FORMAT_NAMES = Object.keys(DOCUMENT_FORMATS) as DocumentFormatName[];

const BY_EXTENSION = new Map<string, DocumentFormatName>(
  DOCUMENT_FORMAT_NAMES.flatMap((name) => DOCUMENT_FORMATS[name].extensions.map((ending) => [ending, name] as const)),
);

const GZIP = /\.gz$/i;

/** The format that the name of a file says, a .gz aside; null for another ending. */
export function formatOfName(name: string): DocumentFormatName | null {
  const ending = /\.([^./\\]+)$/.exec(name.replace(GZIP, ""))?.[1];
  return ending === undefined ? null : (BY_EXTENSION.get(ending.toLowerCase()) ?? null);
}

export const isGzipName = (name: string): boolean => GZIP.test(name);

/** All endings, for a message. */
export const KNOWN_ENDINGS: string = [...BY_EXTENSION.keys()].map((ending) => `.${ending}`).join(", ");
