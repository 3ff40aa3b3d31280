import { z } from "zod";
import { nearestName, UserError, UserErrors } from "../base/errors.ts";
import { parseJson } from "../base/json-text.ts";
import { checkSchema } from "../base/schema.ts";
import { type LabelSet, quoted, type TypePair } from "./example.ts";
import {
  definitionsFromJson,
  definitionsSchema,
  definitionsToJson,
  type LabelDefinitionsJson,
} from "./label-definitions.ts";
import { completedTypes } from "./label-types.ts";

/** A label set as `labels.json` and the run folder write it. */
export interface LabelSetJson {
  labels: string[];
  noRelation: string | null;
  /** Each pair of inverse labels, named from one side or from both. */
  inverses: Record<string, string>;
  /** Labels that are their own inverse. */
  symmetric: string[];
  /** Types of (head, tail) that a label holds between. */
  types?: Record<string, [string, string][]>;
  /** What labels mean, for annotators: a text, or a text with examples. */
  definitions?: LabelDefinitionsJson;
}

const MAX_LABELS = 10_000;
const MAX_LABEL_CHARS = 200;
/** A message shows 40 problems. */
const MOST_ADVICE = 40;

/**
 * The labels of FinRE that hold in both directions. Its files have (B,A) for every (A,B), with exactly inverse labels in the train split: X
 * with 被X, and these twelve with themselves (docs/method.md).
 */
const FINRE_SYMMETRIC: ReadonlySet<string> = new Set([
  "unknown",
  "自己",
  "重组",
  "签约",
  "交易",
  "合作",
  "商讨",
  "合并",
  "竞争",
  "订单",
  "合资",
  "纠纷",
]);

/** Builds a label set; throws UserErrors listing every fault. `where` names the file or recipe key in messages. */
export function createLabelSet(
  parts: Partial<Omit<LabelSetJson, "labels">> & { labels: readonly string[] },
  where: string,
): LabelSet {
  const { labels, noRelation = null, inverses = {}, symmetric = [], types, definitions } = parts;
  if (labels.length === 0) throw new UserError(`${where}: has no labels, expected at least one.`);
  if (labels.length > MAX_LABELS) {
    throw new UserError(`${where}: has ${labels.length} labels, expected at most ${MAX_LABELS}.`);
  }
  const known = new Set(labels);
  const problems = labels.flatMap((label) => labelProblem(label) ?? []);
  const timesOf = new Map<string, number>();
  for (const label of labels) timesOf.set(label, (timesOf.get(label) ?? 0) + 1);
  for (const [label, times] of timesOf) {
    if (times > 1) problems.push(`label ${quoted(label)}: is given ${times} times, expected once`);
  }
  const requireKnown = (label: string, key: string) => {
    if (known.has(label)) return;
    // Advice is for a slip or two: comparing thousands of names with thousands of labels takes a minute, and nobody sees the result.
    const near = problems.length < MOST_ADVICE ? nearestName(label, known) : null;
    problems.push(`${key}: ${quoted(label)} is not one of the labels${near ? `, did you mean ${quoted(near)}?` : ""}`);
  };
  if (noRelation !== null) requireKnown(noRelation, "noRelation");
  const inverseOf = new Map<string, string>();
  const declare = (label: string, inverse: string, key: string) => {
    const earlier = inverseOf.get(label);
    if (earlier === undefined) inverseOf.set(label, inverse);
    else if (earlier !== inverse) {
      problems.push(
        `${key}: the inverse of ${quoted(label)} is ${quoted(inverse)} and ${quoted(earlier)}, expected one`,
      );
    }
  };
  for (const [label, inverse] of Object.entries(inverses)) {
    requireKnown(label, "inverses");
    requireKnown(inverse, "inverses");
    declare(label, inverse, "inverses");
    declare(inverse, label, "inverses");
  }
  for (const label of symmetric) {
    requireKnown(label, "symmetric");
    declare(label, label, "symmetric");
  }
  for (const label of Object.keys(types ?? {})) requireKnown(label, "types");
  const typesOf = types && completedTypes(new Map(Object.entries(types)), inverseOf, noRelation, problems);
  for (const label of Object.keys(definitions ?? {})) requireKnown(label, "definitions");
  const definitionOf = definitions && definitionsFromJson(definitions, problems);
  if (problems.length > 0) throw new UserErrors(`${where}: the labels cannot be used:`, problems);
  return {
    labels: [...labels],
    noRelation,
    inverses: inverseOf,
    ...(typesOf ? { types: typesOf } : {}),
    ...(definitionOf ? { definitions: definitionOf } : {}),
  };
}

function labelProblem(label: string): string | null {
  if (label === "" || label !== label.trim()) return `label ${quoted(label)}: expected text without spaces around it`;
  if (label.length > MAX_LABEL_CHARS) return `label ${quoted(label)}: is longer than ${MAX_LABEL_CHARS} characters`;
  // Answers are labels joined by commas, one answer a line.
  if (/[,\p{Cc}\p{Surrogate}\u2028\u2029]/u.test(label)) {
    return `label ${quoted(label)}: has a comma or a control character, expected neither`;
  }
  return null;
}

/** The JSON form of a label set; {@link labelSetFromJson} reads it back. */
export function labelSetToJson(labels: LabelSet): LabelSetJson {
  const inverses: Record<string, string> = {};
  const symmetric: string[] = [];
  for (const [label, inverse] of labels.inverses) {
    if (label === inverse) symmetric.push(label);
    else if (inverses[inverse] !== label) inverses[label] = inverse;
  }
  const types =
    labels.types && Object.fromEntries(Array.from(labels.types, ([label, pairs]) => [label, pairs.map(copied)]));
  return {
    labels: [...labels.labels],
    noRelation: labels.noRelation,
    inverses,
    symmetric,
    ...(types ? { types } : {}),
    ...(labels.definitions ? { definitions: definitionsToJson(labels.definitions) } : {}),
  };
}

const copied = ([head, tail]: TypePair): [string, string] => [head, tail];

const typesSchema = z.record(
  z.string(),
  z
    .array(z.tuple([z.string().min(1), z.string().min(1)]))
    .min(1)
    .max(1000),
);

const labelSetSchema = z.strictObject({
  labels: z.array(z.string()),
  noRelation: z.string().nullable().optional(),
  inverses: z.record(z.string(), z.string()).optional(),
  symmetric: z.array(z.string()).optional(),
  types: typesSchema.optional(),
  definitions: definitionsSchema.optional(),
});

/** Reads a label set from parsed JSON; throws UserErrors listing every fault. */
export function labelSetFromJson(value: unknown, where: string): LabelSet {
  const parts = checkSchema(labelSetSchema, value, where);
  const labels = createLabelSet({ ...parts, noRelation: parts.noRelation ?? null }, where);
  return parts.noRelation === null ? { ...labels, hasNoRelation: false } : labels;
}

/** The label set with other type constraints, read from a text of JSON: `{"收购": [["公司", "公司"]]}`. Throws UserErrors for its faults. */
export function withTypes(labels: LabelSet, text: string, file: string): LabelSet {
  const types = checkSchema(typesSchema, parseJson(text, `${file}:`), file);
  const { hasNoRelation } = labels;
  const typed = createLabelSet({ ...labelSetToJson(labels), types }, file);
  return hasNoRelation === false ? { ...typed, hasNoRelation } : typed;
}

/** Reads `labels.json`; throws a UserError when it is not JSON or not a label set. */
export function parseLabelsJson(text: string, file: string): LabelSet {
  return labelSetFromJson(parseJson(text, `${file}:`), file);
}

/** As {@link parseLabelsJson}; a plain list of labels is read, too. */
export function parseLabelList(text: string, file: string): LabelSet {
  const value = parseJson(text, `${file}:`);
  return labelSetFromJson(Array.isArray(value) ? { labels: value } : value, file);
}

/** Reads `relation2id.txt` (label, then spaces or a TAB, then a number) and returns the labels in the order of their numbers. */
export function parseRelation2id(text: string, file: string): string[] {
  const lineOfLabel = new Map<string, number>();
  const labelOfId = new Map<number, string>();
  const problems: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const where = `${file}, line ${index + 1}`;
    // The bound keeps the pattern from taking quadratic time on a long line.
    const match = line.length > 2 * MAX_LABEL_CHARS ? null : /^\s*(\S.*?)[ \t]+(\d{1,9})\s*$/.exec(line);
    if (match === null) {
      problems.push(`${where}: got ${quoted(line)}, expected a label, a TAB or a space, and a number`);
      continue;
    }
    const [label, id] = [match[1], Number(match[2])];
    const earlier = lineOfLabel.get(label);
    if (earlier !== undefined) problems.push(`${where}: the label ${quoted(label)} is already on line ${earlier}`);
    const holder = labelOfId.get(id);
    if (holder !== undefined) problems.push(`${where}: the number ${id} already belongs to ${quoted(holder)}`);
    lineOfLabel.set(label, index + 1);
    labelOfId.set(id, label);
  }
  if (problems.length > 0)
    throw new UserErrors(`${file}: the list of relations cannot be used:`, problems.slice(0, 20));
  if (labelOfId.size === 0) throw new UserError(`${file}: is empty, expected lines of a label and a number.`);
  return [...labelOfId].sort(([a], [b]) => a - b).map(([, label]) => label);
}

/**
 * The label set of a folder in the format of Chinese_NRE. `unknown` means no relation. X and 被X are inverses. The other labels
 * are symmetric when they are the twelve of FinRE. SanWen gets no inverses: it names a pair from one side only (in its train split 182
 * of 17,092 examples have a mirrored one, and (B,A) of a Family or Social pair (A,B) is `unknown` 23 times and its own label twice).
 */
export function chineseNreLabelSet(labels: readonly string[], file: string): LabelSet {
  const known = new Set(labels);
  const inverses: Record<string, string> = {};
  for (const label of labels) if (known.has(`被${label}`)) inverses[label] = `被${label}`;
  const paired = new Set(Object.entries(inverses).flat());
  const unpaired = labels.filter((label) => !paired.has(label));
  const isFinre = unpaired.length === FINRE_SYMMETRIC.size && unpaired.every((label) => FINRE_SYMMETRIC.has(label));
  const noRelation = known.has("unknown") ? "unknown" : null;
  return createLabelSet({ labels, noRelation, inverses, symmetric: isFinre ? unpaired : [] }, file);
}
