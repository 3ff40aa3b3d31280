import { messageOf, nearestName } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { type Example, exampleProblem, type LabelSet, quoted, type Span } from "./example.ts";
import { addBadRow, emptySplit, finishSplit, MAX_ROW_BYTES, type OnBadRow, type Split } from "./split.ts";

/** One line of a JSONL stream: an example with the object it was read from (further fields included), or what is wrong with it. */
export type JsonlLine =
  | { line: number; example: Example; object: Record<string, unknown>; problem: null }
  | { line: number; example: null; object: Record<string, unknown> | null; problem: string };

export interface JsonlOptions {
  /** The relations that rows may name; null accepts any. */
  labels?: LabelSet | null;
  /** Whether a row without relations is a bad row. */
  requireRelations?: boolean;
  maxRowBytes?: number;
}

/** Objects nested deeper than this are refused, because writing them out again could overflow the stack. */
const MAX_NESTING = 100;
const MAX_RELATIONS = 1000;

/**
 * Streams examples from a JSONL file or from standard input with bounded memory:
 * `{"sentence","head","tail","relations"?: [...],"headSpan"?: {"start","end"} | [start,end],"tailSpan"?,"id"?}` and any other fields.
 * Blank lines are skipped. A bad line is yielded with its problem; the caller decides. Throws a UserError when the source cannot be read.
 */
export async function* readJsonl(
  source: string | NodeJS.ReadableStream,
  options: JsonlOptions = {},
): AsyncGenerator<JsonlLine> {
  const known = options.labels == null ? null : new Set(options.labels.labels);
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
      const example = exampleOf(object, known, options.requireRelations ?? false);
      if (typeof example === "string") yield { line: number, example: null, object, problem: example };
      else yield { line: number, example, object, problem: null };
    }
  }
}

/** Reads a labelled JSONL split; rows are kept one by one, equal rows counted. Throws UserErrors for bad rows (unless skipped). */
export async function readJsonlSplit(
  file: string,
  labels: LabelSet,
  options: { onBadRow?: OnBadRow; maxRowBytes?: number } = {},
): Promise<Split> {
  const split = emptySplit();
  const seen = new Set<string>();
  for await (const row of readJsonl(file, { labels, requireRelations: true, maxRowBytes: options.maxRowBytes })) {
    split.counts.rows++;
    if (row.example === null) {
      addBadRow(split, { file, line: row.line, problem: row.problem });
      continue;
    }
    const { id: _, ...content } = row.example;
    const key = JSON.stringify(content);
    if (seen.has(key)) split.counts.exactDuplicates++;
    seen.add(key);
    split.examples.push(row.example);
  }
  return finishSplit(split, file, options.onBadRow ?? "stop");
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
  return value as Record<string, unknown>;
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeperThan(item, levels - 1));
}

/** The example in a parsed object, or what is wrong with it. */
function exampleOf(
  object: Record<string, unknown>,
  known: ReadonlySet<string> | null,
  requireRelations: boolean,
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
  const relations = relationsOf(object.relations, known, requireRelations);
  if (typeof relations === "string") return relations;
  if (relations !== null) example.relations = relations;
  if (object.id !== undefined && object.id !== null) {
    if (typeof object.id !== "string" && typeof object.id !== "number") {
      return `got ${typeName(object.id)} "id", expected a text or a number`;
    }
    example.id = object.id;
  }
  return exampleProblem(example) ?? example;
}

function spanOf(value: unknown, key: string): Span | null | string {
  if (value === undefined || value === null) return null;
  const { start, end } = (
    Array.isArray(value) && value.length === 2 ? { start: value[0], end: value[1] } : value
  ) as Span;
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end)) return { start, end };
  return `got ${quoted(JSON.stringify(value))} as "${key}", expected {"start": 0, "end": 2} or [0, 2]`;
}

function relationsOf(value: unknown, known: ReadonlySet<string> | null, isRequired: boolean): string[] | null | string {
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
  const near = nearestName(unknown, known);
  return `got the relation ${quoted(unknown)}, expected one of the ${known.size} labels${near ? ` (did you mean ${quoted(near)}?)` : ""}`;
}

function typeName(value: unknown): string {
  if (value === null) return "null as";
  if (Array.isArray(value)) return "a list as";
  return typeof value === "object" ? "an object as" : `a ${typeof value} as`;
}
