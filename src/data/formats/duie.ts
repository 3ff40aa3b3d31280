import { showValue } from "../../base/errors.ts";
import { type Example, exampleProblem } from "../example.ts";
import { jsonFormat } from "./json-format.ts";
import { isObject, type LabelledFormat, type LabelledRow } from "./labelled.ts";

/**
 * DuIE (Li et al. 2019): triples of names without places. In DuIE 2.0 an object is {"@value": …} with further slots, which are left out and
 * counted. A triple whose name is not in the text is a problem of its own; the others of the row stay.
 */
export const duie: LabelledFormat = jsonFormat({
  title: "DuIE",
  expected: '{"text", "spo_list": [{"subject", "predicate", "object"}]}',
  recognise: (row) => "spo_list" in row,
  read: readRow,
});

function readRow(row: Readonly<Record<string, unknown>>, out: LabelledRow): string | undefined {
  const { text, spo_list: triples } = row;
  if (typeof text !== "string") return `got ${showValue(text)} as "text", expected a text`;
  if (!Array.isArray(triples)) return `got ${showValue(triples)} as "spo_list", expected a list`;
  const pairs = new Map<string, Example>();
  const names = new Set<string>();
  let slots = 0;
  for (const triple of triples) {
    const { subject: head, predicate: label, object } = isObject(triple) ? triple : {};
    const tail = isObject(object) ? object["@value"] : object;
    if (isObject(object)) slots += Object.keys(object).length - 1;
    if (typeof head !== "string" || typeof label !== "string" || typeof tail !== "string") {
      out.problems.push(`got ${showValue(triple)}, expected {"subject", "predicate", "object"} with texts`);
      continue;
    }
    const problem = exampleProblem({ sentence: text, head, tail });
    if (problem !== null) {
      out.problems.push(problem);
      continue;
    }
    names.add(head).add(tail);
    addLabel(pairs, text, head, tail, label);
  }
  out.pairs.push(...pairs.values());
  if (slots > 0) out.dropped = { "further slots of an object": slots };
  for (const head of names) {
    for (const tail of names) {
      const isLabelled = pairs.has(JSON.stringify([head, tail])) || pairs.has(JSON.stringify([tail, head]));
      if (head !== tail && !isLabelled) out.unlabelled.push({ sentence: text, head, tail });
    }
  }
}

function addLabel(pairs: Map<string, Example>, sentence: string, head: string, tail: string, label: string): void {
  const key = JSON.stringify([head, tail]);
  const pair = pairs.get(key);
  if (pair === undefined) pairs.set(key, { sentence, head, tail, relations: [label] });
  else if (!pair.relations?.includes(label)) pair.relations?.push(label);
}
