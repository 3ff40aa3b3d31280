import { mentionsOf, type Span } from "../../data/example.ts";
import { codePointOffsets } from "../../documents/offsets.ts";
import type { ReviewedRow } from "./labelled-set.ts";

export const EXPORT_FORMATS = ["jsonl", "label-studio", "doccano"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** Type of entities in programs that need one; labels of entities are not known. */
const ENTITY = "entity";

/** The rows in the form of another program: a sentence with all of its pairs is one text. */
export function exportedRows(rows: readonly ReviewedRow[], format: ExportFormat): { type: string; text: string } {
  if (format === "jsonl") return { type: "application/x-ndjson", text: lines(rows) };
  const texts = textsOf(rows);
  if (format === "doccano") return { type: "application/x-ndjson", text: lines(texts.map(doccanoText)) };
  return { type: "application/json", text: JSON.stringify(texts.map(labelStudioTask)) };
}

const lines = (values: readonly object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join("");

interface MarkedText {
  text: string;
  spans: Span[];
  relations: { head: number; tail: number; label: string }[];
}

function textsOf(rows: readonly ReviewedRow[]): MarkedText[] {
  const texts = new Map<string, MarkedText>();
  for (const { sentence, head, tail, headSpan, tailSpan, relations } of rows) {
    const own = texts.get(sentence) ?? { text: sentence, spans: [], relations: [] };
    texts.set(sentence, own);
    const placeOf = (name: string, given: Span | undefined): number => {
      const [span] = mentionsOf(sentence, name, given);
      const known = own.spans.findIndex(({ start, end }) => start === span.start && end === span.end);
      return known >= 0 ? known : own.spans.push(span) - 1;
    };
    const [from, to] = [placeOf(head, headSpan), placeOf(tail, tailSpan)];
    for (const label of relations) own.relations.push({ head: from, tail: to, label });
  }
  return [...texts.values()];
}

/** Label Studio counts UTF-16 units. */
function labelStudioTask({ text, spans, relations }: MarkedText, i: number) {
  const regions = spans.map(({ start, end }, at) => ({
    ...{ id: `e${at}`, from_name: "label", to_name: "text", type: "labels" },
    value: { start, end, text: text.slice(start, end), labels: [ENTITY] },
  }));
  const links = relations.map(({ head, tail, label }) => ({
    ...{ type: "relation", from_id: `e${head}`, to_id: `e${tail}`, direction: "right", labels: [label] },
  }));
  return { id: i + 1, data: { text }, annotations: [{ result: [...regions, ...links] }] };
}

/** doccano counts code points. */
function doccanoText({ text, spans, relations }: MarkedText, i: number) {
  const { toCodePoint } = codePointOffsets(text);
  return {
    ...{ id: i + 1, text },
    entities: spans.map(({ start, end }, at) => ({
      ...{ id: at, label: ENTITY, start_offset: toCodePoint(start), end_offset: toCodePoint(end) },
    })),
    relations: relations.map(({ head, tail, label }, at) => ({ id: at, from_id: head, to_id: tail, type: label })),
  };
}
