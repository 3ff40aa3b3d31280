import { messageOf, nearestName } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { exactNumber, findDuplicateKey, type JsonMembers, readMembers } from "../base/json-text.ts";
import { type Example, exampleProblem, type LabelSet, quoted, type Span } from "./example.ts";
import { type Normalization, normalizedExample } from "./normalize.ts";
import { readSoftLabels } from "./soft-labels.ts";
import {
  addBadRow,
  emptySplit,
  finishSplit,
  MAX_ROW_BYTES,
  rowCollector,
  type Split,
  type SplitOptions,
} from "./split.ts";

/**
 * One line of a JSONL stream: an example with the object it was read from (further fields included), or what is wrong with it. `members`
 * are the fields as they were written: numbers of `object` are doubles, which round whole numbers beyond 2^53.
 */
export type JsonlLine =
  | { line: number; example: Example; object: Record<string, unknown>; members: JsonMembers; problem: null }
  | { line: number; example: null; object: Record<string, unknown> | null; problem: string };

export interface JsonlOptions {
  /** The relations that rows may name; null accepts any. */
  labels?: LabelSet | null;
  /** Whether a row without relations is a bad row; "softLabels" are read with them only. */
  requireRelations?: boolean;
  maxRowBytes?: number;
  /** What is done to sentence, head and tail of `example`; default none. */
  normalize?: Normalization;
}

/** Objects nested deeper than this are refused, because writing them out again could overflow the stack. */
const MAX_NESTING = 100;
const MAX_RELATIONS = 1000;
/** The nearest label is looked for in this many bad rows of a file: it takes time, and more are not shown. */
export const MAX_NEAREST_LABELS = 40;

/**
 * Streams examples from a JSONL file or from standard input with bounded memory:
 * `{"sentence","head","tail","relations"?: [...],"headSpan"?: {"start","end"} | [start,end],"tailSpan"?,"id"?}` and any other fields.
 * Blank lines are skipped. A bad line is yielded with its problem; the caller decides. Throws a UserError when the source cannot be read.
 */
export async function* readJsonl(
  source: string | NodeJS.ReadableStream,
  options: JsonlOptions = {},
): AsyncGenerator<JsonlLine> {
  const relations = relationReader(options.labels ?? null, options.requireRelations ?? false);
  // In other rows "softLabels" is one of the owner's further fields.
  const known = options.requireRelations && options.labels ? new Set(options.labels.labels) : null;
  for await (const { number, text, problem } of readLines(source, {
    maxLineBytes: options.maxRowBytes ?? MAX_ROW_BYTES,
  })) {
    if (text === null) {
      yield { line: number, example: null, object: null, problem: problem as string };
    } else if (text.trim() !== "") {
      const object = parseObject(text);
      if (typeof object === "string") {
        yield { line: number, example: null, object: null, problem: object };
        continue;
      }
      const members = readMembers(text);
      const example = withSoftLabels(exampleOf(object, members, relations, options.normalize), object, known);
      if (typeof example === "string") yield { line: number, example: null, object, problem: example };
      else yield { line: number, example, object, members, problem: null };
    }
  }
}

/** Reads a labelled JSONL split; see {@link rowCollector} for rows with equal input. Throws UserErrors for bad rows (unless skipped). */
export async function readJsonlSplit(file: string, labels: LabelSet, options: SplitOptions = {}): Promise<Split> {
  const { onBadRow = "stop", equalRows, ...read } = options;
  const split = emptySplit();
  const collect = rowCollector(split, equalRows);
  for await (const { line, example, problem } of readJsonl(file, { ...read, labels, requireRelations: true })) {
    split.counts.rows++;
    if (example === null) addBadRow(split, { file, line, problem });
    else collect(example);
  }
  return finishSplit(split, file, onBadRow);
}

function parseObject(text: string): Record<string, unknown> | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `got ${quoted(text)}, expected a JSON object (${messageOf(error)})`;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return `got ${quoted(text)}, expected a JSON object {"sentence", "head", "tail"}`;
  }
  if (isDeeperThan(value, MAX_NESTING)) return `got an object nested deeper than ${MAX_NESTING} levels`;
  const twice = findDuplicateKey(text);
  if (twice !== null) return `got the key ${quoted(twice)} twice in one object, expected it once`;
  return value as Record<string, unknown>;
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(item, levels - 1));
}

/** The example in a parsed object, or what is wrong with it. */
function exampleOf(
  object: Record<string, unknown>,
  members: JsonMembers,
  readRelations: RelationReader,
  normalize: Normalization | undefined,
): Example | string {
  const texts: string[] = [];
  for (const key of ["sentence", "head", "tail"]) {
    const value = Object.hasOwn(object, key) ? object[key] : undefined;
    if (typeof value !== "string") {
      const near = value === undefined ? nearestName(key, Object.keys(object).slice(0, 100)) : null;
      const hint = near === null ? "" : ` (there is "${near}")`;
      return `got ${value === undefined ? "no" : typeName(value)} "${key}", expected a text${hint}`;
    }
    texts.push(value);
  }
  const [sentence, head, tail] = texts;
  const example: Example = { sentence, head, tail };
  for (const key of ["headSpan", "tailSpan"] as const) {
    const span = spanOf(object[key], key);
    if (typeof span === "string") return span;
    if (span !== null) example[key] = span;
  }
  const relations = readRelations(object.relations);
  if (typeof relations === "string") return relations;
  if (relations !== null) example.relations = relations;
  if (object.id !== undefined && object.id !== null) {
    const id = idOf(object.id, members);
    if (id === null) {
      if (typeof object.id !== "number") return `got ${typeName(object.id)} "id", expected a text or a number`;
      return `got the number ${members.get("id")} as "id", which a double cannot hold, expected fewer digits or a text`;
    }
    example.id = id;
  }
  const normalized = normalizedExample(example, normalize);
  return typeof normalized === "string" ? normalized : (exampleProblem(normalized) ?? normalized);
}

function withSoftLabels(
  example: Example | string,
  { softLabels: value }: Record<string, unknown>,
  known: ReadonlySet<string> | null,
): Example | string {
  if (known === null || typeof example === "string") return example;
  const softLabels = readSoftLabels(value, known);
  if (typeof softLabels === "string") return softLabels;
  return softLabels === null ? example : { ...example, softLabels };
}

/** The id of a row with all its digits; null for a value that is no id or that a number cannot hold. */
export function idOf(value: unknown, members: JsonMembers): Example["id"] | null {
  if (typeof value === "string") return value;
  return typeof value === "number" ? exactNumber(members.get("id") as string) : null;
}

function spanOf(value: unknown, key: string): Span | null | string {
  if (value === undefined || value === null) return null;
  const { start, end } = (
    Array.isArray(value) && value.length === 2 ? { start: value[0], end: value[1] } : value
  ) as Span;
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end)) return { start, end };
  return `got ${quoted(JSON.stringify(value))} as "${key}", expected {"start": 0, "end": 2} or [0, 2]`;
}

/** The relations of a row, null for none, or what is wrong with them. */
type RelationReader = (value: unknown) => string[] | null | string;

function relationReader(labels: LabelSet | null, isRequired: boolean): RelationReader {
  const known = labels === null ? null : new Set(labels.labels);
  let nearestLabels = 0;
  return (value) => {
    if (value === undefined || value === null) {
      return isRequired ? 'got no "relations", expected a list of labels' : null;
    }
    if (!Array.isArray(value) || !value.every((label) => typeof label === "string")) {
      return `got ${quoted(JSON.stringify(value))} as "relations", expected a list of labels`;
    }
    if (value.length > MAX_RELATIONS) return `got ${value.length} relations, expected at most ${MAX_RELATIONS}`;
    if (value.length === 0 && isRequired) {
      return 'got an empty list of "relations", expected at least one label (the one for no relation, if none holds)';
    }
    const unknown = known === null ? undefined : value.find((label) => !known.has(label));
    if (known === null || unknown === undefined) return value;
    return unknownRelation(unknown, known, ++nearestLabels <= MAX_NEAREST_LABELS);
  };
}

/** The problem of a relation that the label set does not have; the nearest label is named when `isNearest` asks for it. */
export function unknownRelation(relation: string, known: ReadonlySet<string>, isNearest = true): string {
  const near = isNearest ? nearestName(relation, known) : null;
  const hint = near ? ` (did you mean ${quoted(near)}?)` : "";
  return `got the relation ${quoted(relation)}, expected one of the ${known.size} labels${hint}`;
}

function typeName(value: unknown): string {
  if (value === null) return "null as";
  if (Array.isArray(value)) return "a list as";
  return typeof value === "object" ? "an object as" : `a ${typeof value} as`;
}
