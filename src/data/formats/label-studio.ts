import { showValue } from "../../base/errors.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, isRange, type LabelledFormat, type LabelledRow, type Mention } from "./labelled.ts";
import { spanOfName, utf16Offsets } from "./places.ts";

/**
 * Label Studio's JSON export of labels with relations. The first annotation that was not cancelled counts; others are left out and counted.
 * Every region is checked against its text.
 */
export const labelStudio: LabelledFormat = jsonFormat({
  title: "Label Studio JSON",
  expected:
    '{"data": {"text"}, "annotations": [{"result": [{"id", "type": "labels", "value": {"start", "end", "text", "labels"}}, {"type": "relation", "from_id", "to_id", "labels"}]}]}',
  isDocument: true,
  recognise: (row) => "annotations" in row && "data" in row,
  read: readRow,
});

function readRow(row: Readonly<Record<string, unknown>>, out: LabelledRow): string | undefined {
  const text = textOf(row.data);
  if (text === null) return `got ${showValue(row.data)} as "data", expected {"text": …} or one field with a text`;
  if (!Array.isArray(row.annotations)) return `got ${showValue(row.annotations)} as "annotations", expected a list`;
  const annotations = row.annotations.filter((one) => isObject(one) && one.was_cancelled !== true);
  const dropped: Record<string, number> = {};
  if (annotations.length > 1) dropped["further annotations of a text"] = annotations.length - 1;
  const result = annotations.length === 0 ? [] : annotations[0].result;
  if (!Array.isArray(result)) return `got ${showValue(result)} as "result", expected a list`;
  if (annotations.length === 0) {
    out.dropped = { "texts without an annotation": 1 };
    return;
  }
  const toUtf16 = utf16Offsets(text);
  const mentions: Mention[] = [];
  const indexOf = new Map<unknown, number>();
  const links: Record<string, unknown>[] = [];
  for (const item of result) {
    if (isObject(item) && item.type === "relation") links.push(item);
    else if (isObject(item) && isObject(item.value) && "start" in item.value) {
      const { start, end, text: name, labels, hypertextlabels } = item.value;
      const span = isRange(start, end, text.length)
        ? spanOfName(text, toUtf16, start as number, end as number, typeof name === "string" ? name : "")
        : null;
      if (span === null) return `got the region ${showValue(item.value)}, whose text is not at its place`;
      const type = [labels, hypertextlabels].find(Array.isArray)?.[0];
      indexOf.set(item.id, mentions.length);
      mentions.push(typeof type === "string" ? { ...span, type } : span);
    } else dropped["results that are no regions of text"] = (dropped["results that are no regions of text"] ?? 0) + 1;
  }
  const relations: { head: number; tail: number; label: string }[] = [];
  for (const link of links) {
    const [from, to] = [indexOf.get(link.from_id), indexOf.get(link.to_id)];
    if (from === undefined || to === undefined) {
      return `got the relation ${showValue(link)}, expected "from_id" and "to_id" of regions`;
    }
    const labels = Array.isArray(link.labels) ? link.labels.filter((label) => typeof label === "string") : [];
    if (labels.length === 0) {
      out.problems.push(`got the relation ${showValue(link)} without "labels", expected at least one`);
      continue;
    }
    for (const label of labels) {
      if (link.direction !== "left") relations.push({ head: from, tail: to, label });
      if (link.direction === "left" || link.direction === "bi") relations.push({ head: to, tail: from, label });
    }
  }
  out.dropped = dropped;
  out.texts.push({ text, mentions, relations, ...(typeof row.id === "number" ? { id: row.id } : {}) });
}

/** The text of a task: "text", or its only field that is a text. */
function textOf(data: unknown): string | null {
  if (!isObject(data)) return null;
  if (typeof data.text === "string") return data.text;
  const texts = Object.values(data).filter((value) => typeof value === "string");
  return texts.length === 1 ? texts[0] : null;
}
