import { showValue } from "../../base/errors.ts";
import { exampleProblem, type Span } from "../example.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, isRange, isTexts, type LabelledFormat, type LabelledRow } from "./labelled.ts";
import { spanOfName, utf16Offsets } from "./places.ts";
import { joinTokens } from "./tokens.ts";

/**
 * OpenNRE's JSONL (Han et al. 2019): one pair a row. `pos` counts characters of "text" or tokens of "token"; a place that does not have the
 * name is a problem.
 */
export const opennre: LabelledFormat = jsonFormat({
  title: "OpenNRE JSONL",
  expected: '{"text" or "token", "h": {"name", "pos": [start, end]}, "t": {"name", "pos"}, "relation"}',
  recognise: (row) => "h" in row && "t" in row && ("text" in row || "token" in row),
  read: readRow,
});

function readRow(row: Readonly<Record<string, unknown>>, out: LabelledRow): string | undefined {
  const { text, token, relation } = row;
  if (typeof relation !== "string") return `got ${showValue(relation)} as "relation", expected a label`;
  if (typeof text !== "string" && !isTexts(token)) {
    return `got ${showValue(text ?? token)}, expected "text" with a text or "token" with a list of texts`;
  }
  const tokens = typeof text === "string" ? null : joinTokens(token as string[]);
  const sentence = tokens === null ? (text as string) : tokens.text;
  const toUtf16 = utf16Offsets(sentence);
  const names: string[] = [];
  const spans: Span[] = [];
  for (const key of ["h", "t"]) {
    const { name, pos } = isObject(row[key]) ? (row[key] as Record<string, unknown>) : {};
    const [start, end] = Array.isArray(pos) ? pos : [];
    const limit = tokens === null ? sentence.length : tokens.starts.length;
    if (!Array.isArray(pos) || pos.length !== 2 || !isRange(start, end, limit)) {
      return `got ${showValue(row[key])} as "${key}", expected {"name", "pos": [start, end]} with 0 ≤ start < end ≤ ${limit}`;
    }
    if (tokens !== null) {
      const span = { start: tokens.starts[start], end: tokens.ends[end - 1] };
      names.push(sentence.slice(span.start, span.end));
      spans.push(span);
      continue;
    }
    const span = typeof name === "string" ? spanOfName(sentence, toUtf16, start, end, name) : null;
    if (span === null) return `got ${showValue(row[key])} as "${key}", whose name is not at its place`;
    names.push(name as string);
    spans.push(span);
  }
  const pair = {
    sentence,
    head: names[0],
    tail: names[1],
    headSpan: spans[0],
    tailSpan: spans[1],
    relations: [relation],
  };
  const problem = exampleProblem(pair);
  if (problem !== null) return problem;
  out.pairs.push(pair);
}
