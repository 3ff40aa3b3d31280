import { Readable } from "node:stream";
import { readJsonl } from "../jsonl.ts";
import { jsonRows } from "./json-rows.ts";
import { badRow, emptyRow, type LabelledFormat } from "./labelled.ts";

/** Rows of this program (docs/method.md: sentence, head, tail, relations) in a JSON list; one a line is read too. */
export const jsonList: LabelledFormat = {
  title: "a JSON list of rows",
  expected: '[{"sentence", "head", "tail", "relations": [...]}]',
  extensions: ["json", "jsonl"],
  isDocument: false,
  recognise: (row) => "sentence" in row && "head" in row && "tail" in row,
  async *read(file) {
    for await (const { line, text, problem } of jsonRows(file)) {
      if (problem !== null) {
        yield badRow(line, problem);
        continue;
      }
      // A line break between two tokens of JSON is white space; inside of a text it is escaped.
      const single = Readable.from([Buffer.from(text.replace(/[\r\n]+/g, " "))]);
      for await (const row of readJsonl(single, { requireRelations: true })) {
        yield row.example === null ? badRow(line, row.problem) : { ...emptyRow(line), pairs: [row.example] };
      }
    }
  },
};
