import { showValue } from "../../base/errors.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, isRange, isTexts, type LabelledFormat, type LabelledRow, type Mention } from "./labelled.ts";
import { joinTokens } from "./tokens.ts";

/** SpERT's JSON (Eberts and Ulges 2020): entities are ranges of tokens, relations name entities by their index. */
export const spert: LabelledFormat = jsonFormat({
  title: "SpERT JSON",
  expected:
    '{"tokens": ["甲", …], "entities": [{"type", "start", "end"}], "relations": [{"type", "head", "tail"}]} with places counted in tokens',
  recognise: (row) => "tokens" in row && "entities" in row,
  read: readRow,
});

function readRow(row: Readonly<Record<string, unknown>>, out: LabelledRow): string | undefined {
  const { tokens, entities, relations = [] } = row;
  if (!isTexts(tokens) || tokens.length === 0) return `got ${showValue(tokens)} as "tokens", expected a list of texts`;
  if (!Array.isArray(entities)) return `got ${showValue(entities)} as "entities", expected a list`;
  if (!Array.isArray(relations)) return `got ${showValue(relations)} as "relations", expected a list`;
  const { text, starts, ends } = joinTokens(tokens);
  const mentions: Mention[] = [];
  for (const entity of entities) {
    const { start, end, type } = isObject(entity) ? entity : {};
    if (!isRange(start, end, tokens.length) || typeof type !== "string") {
      return `got the entity ${showValue(entity)}, expected {"type", "start", "end"} with 0 ≤ start < end ≤ ${tokens.length}`;
    }
    mentions.push({ start: starts[start as number], end: ends[(end as number) - 1], type });
  }
  const found: { head: number; tail: number; label: string }[] = [];
  for (const relation of relations) {
    const { head, tail, type } = isObject(relation) ? relation : {};
    const isIndex = (index: unknown) =>
      Number.isSafeInteger(index) && isRange(index, (index as number) + 1, mentions.length);
    if (!isIndex(head) || !isIndex(tail) || typeof type !== "string") {
      return `got the relation ${showValue(relation)}, expected {"type", "head", "tail"} with indices below ${mentions.length}`;
    }
    found.push({ head: head as number, tail: tail as number, label: type });
  }
  const id = row.orig_id;
  out.texts.push({
    text,
    mentions,
    relations: found,
    ...(typeof id === "string" || typeof id === "number" ? { id } : {}),
  });
}
