import { showValue } from "../../base/errors.ts";
import { jsonRows } from "./json-rows.ts";
import { badRow, emptyRow, isObject, type LabelledFormat, type LabelledRow } from "./labelled.ts";

/** The parts of a format whose rows are JSON objects, in a list or one a line. */
export interface JsonFormatParts {
  title: string;
  expected: string;
  isDocument?: boolean;
  recognise(row: Readonly<Record<string, unknown>>): boolean;
  /** Adds what a row gives to `out`; returns what is wrong with the whole row. */
  read(row: Readonly<Record<string, unknown>>, out: LabelledRow, text: string): string | undefined;
}

const MAX_SHOWN_KEYS = 10;

export function jsonFormat({ title, expected, isDocument = false, recognise, read }: JsonFormatParts): LabelledFormat {
  return {
    title,
    expected,
    extensions: ["json", "jsonl", "ndjson"],
    isDocument,
    recognise,
    async *read(file) {
      for await (const { line, text, value, problem } of jsonRows(file)) {
        if (problem !== null) yield badRow(line, problem);
        else if (!isObject(value)) yield badRow(line, `got ${showValue(value)}, expected ${title}: ${expected}`);
        else if (!recognise(value)) yield badRow(line, `got ${keysOf(value)}, expected ${title}: ${expected}`);
        else {
          const out = emptyRow(line);
          const fault = read(value, out, text);
          yield fault === undefined ? out : badRow(line, fault);
        }
      }
    },
  };
}

/** The keys of a row, for a message. */
export function keysOf(row: Readonly<Record<string, unknown>>): string {
  const keys = Object.keys(row);
  if (keys.length === 0) return "an object without keys";
  const shown = keys.slice(0, MAX_SHOWN_KEYS).map((key) => showValue(key, 40));
  return `an object with ${shown.join(", ")}${keys.length > shown.length ? ", …" : ""}`;
}
