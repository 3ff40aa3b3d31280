import { showValue } from "../../base/errors.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, isRange, type LabelledFormat, type LabelledRow, type Mention } from "./labelled.ts";
import { utf16Offsets } from "./places.ts";

/** doccano's JSONL export of a relation project. Its offsets are those of its Python server: code points. */
export const doccano: LabelledFormat = jsonFormat({
  title: "doccano JSONL with relations",
  expected:
    '{"text", "entities": [{"id", "label", "start_offset", "end_offset"}], "relations": [{"from_id", "to_id", "type"}]}',
  isDocument: true,
  recognise: (row) => "entities" in row && "text" in row && !("tokens" in row),
  read: readRow,
});

function readRow(row: Readonly<Record<string, unknown>>, out: LabelledRow): string | undefined {
  const { text, entities, relations = [] } = row;
  if (typeof text !== "string") return `got ${showValue(text)} as "text", expected a text`;
  if (!Array.isArray(entities)) return `got ${showValue(entities)} as "entities", expected a list`;
  if (!Array.isArray(relations)) return `got ${showValue(relations)} as "relations", expected a list`;
  const toUtf16 = utf16Offsets(text);
  const mentions: Mention[] = [];
  const indexOf = new Map<unknown, number>();
  for (const entity of entities) {
    const { id, label, start_offset: start, end_offset: end } = isObject(entity) ? entity : {};
    if (!isRange(start, end, toUtf16.length - 1) || typeof label !== "string" || id === undefined) {
      return `got the entity ${showValue(entity)}, expected {"id", "label", "start_offset", "end_offset"} inside of the ${toUtf16.length - 1} characters`;
    }
    if (indexOf.has(id)) return `got two entities with the id ${showValue(id)}, expected one`;
    indexOf.set(id, mentions.length);
    mentions.push({ start: toUtf16[start as number], end: toUtf16[end as number], type: label });
  }
  const found: { head: number; tail: number; label: string }[] = [];
  for (const relation of relations) {
    const { from_id, to_id, type } = isObject(relation) ? relation : {};
    const [head, tail] = [indexOf.get(from_id), indexOf.get(to_id)];
    if (head === undefined || tail === undefined || typeof type !== "string") {
      return `got the relation ${showValue(relation)}, expected {"from_id", "to_id", "type"} with ids of entities`;
    }
    found.push({ head, tail, label: type });
  }
  out.texts.push({ text, mentions, relations: found, ...(typeof row.id === "number" ? { id: row.id } : {}) });
}
