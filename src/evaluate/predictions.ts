import { UserError, UserErrors } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { findDuplicateKey, readMembers } from "../base/json-text.ts";
import { type Example, quoted, type Span } from "../data/example.ts";
import { idOf } from "../data/jsonl.ts";
import { relationsOfAnswer } from "./answer-text.ts";

/** A line of `generated_predictions.jsonl` as LLaMA-Factory writes it; `gold` and `predicted` are read without knowing the entities. */
export interface AnswerPrediction {
  line: number;
  gold: string[];
  predicted: string[];
  /** The texts they were read from. */
  label: string;
  predict: string;
}

/** A line of our own extraction output; identified by its triple of strings or, without them, by its id. */
export interface LabelPrediction {
  line: number;
  sentence?: string;
  head?: string;
  tail?: string;
  headSpan?: Span;
  tailSpan?: Span;
  id?: Example["id"];
  predicted: string[];
  argmax: string | null;
}

/** `failedLines` counts the lines that say only why their row could not be extracted: `{"line", "error"}`. */
export type PredictionFile =
  | { kind: "answers"; file: string; lines: AnswerPrediction[] }
  | { kind: "labels"; file: string; lines: LabelPrediction[]; failedLines: number };

const MAX_LINE_BYTES = 1 << 20;
const MAX_LINES = 5_000_000;
const MAX_LABELS_PER_LINE = 10_000;
const MAX_PROBLEMS = 20;
const SHAPES = '{"label", "predict"} (LLaMA-Factory) or {"sentence", "head", "tail", "predictions"} (cre extract)';

type Fields = Record<string, unknown>;

/** What is wrong with one line; the caller adds file and number. */
class LineProblem extends Error {}

/**
 * Reads predictions to score: JSONL as LLaMA-Factory or `cre extract` writes it (`relations` is read as `predictions`); the first line
 * decides which. Throws a UserErrors that lists the bad lines by number: a score over the readable rest would be a different score.
 */
export async function readPredictions(file: string): Promise<PredictionFile> {
  const answers: AnswerPrediction[] = [];
  const labels: LabelPrediction[] = [];
  const problems: string[] = [];
  let kind: PredictionFile["kind"] | null = null;
  let badLines = 0;
  let failedLines = 0;
  for await (const { number, text, problem } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    if (number > MAX_LINES) throw new UserError(`${file}: has more than ${MAX_LINES} lines, expected fewer.`);
    try {
      if (text === null) throw new LineProblem(problem ?? "cannot be read");
      const content = number === 1 ? text.replace(/^\uFEFF/, "") : text;
      if (content.trim() === "") continue;
      const fields = parseObject(content);
      const twice = findDuplicateKey(content);
      if (twice !== null) throw new LineProblem(`has the key ${quoted(twice)} twice in one object, expected it once`);
      const own = kindOf(fields);
      kind ??= own;
      if (own !== kind)
        throw new LineProblem(`is of another kind than the lines before, expected ${SHAPES} throughout`);
      if (own === "answers") answers.push(answerPrediction(fields, number));
      else if (isFailure(fields)) failedLines++;
      else labels.push(labelPrediction(fields, number, content));
    } catch (error) {
      if (!(error instanceof LineProblem)) throw error;
      badLines++;
      if (problems.length < MAX_PROBLEMS) problems.push(`line ${number}: ${error.message}.`);
    }
  }
  if (badLines > 0) {
    if (badLines > problems.length) problems.push(`and ${badLines - problems.length} more lines.`);
    throw new UserErrors(`${file}: ${badLines} of its lines cannot be used as predictions:`, problems, {
      hint: `Each line is one JSON object: ${SHAPES}.`,
    });
  }
  if (kind === null) throw new UserError(`${file}: is empty, expected one JSON object a line: ${SHAPES}.`);
  return kind === "answers" ? { kind, file, lines: answers } : { kind, file, lines: labels, failedLines };
}

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new LineProblem("is not valid JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new LineProblem(`is ${describe(value)}, expected a JSON object`);
  }
  return value as Fields;
}

function kindOf(fields: Fields): PredictionFile["kind"] {
  if ("predict" in fields || "label" in fields) return "answers";
  if ("predictions" in fields || "relations" in fields || isFailure(fields)) return "labels";
  const names = Object.keys(fields).slice(0, 5);
  throw new LineProblem(`has the fields [${names.join(", ")}], expected ${SHAPES}`);
}

function isFailure(fields: Fields): boolean {
  return typeof fields.error === "string" && !("predictions" in fields);
}

function answerPrediction(fields: Fields, line: number): AnswerPrediction {
  const label = text(fields, "label");
  const gold = relationsOfAnswer(label);
  if (gold.length === 0) {
    throw new LineProblem(`"label" holds no triple ([head],relation,[tail]), got ${shorten(label)}`);
  }
  const predict = text(fields, "predict");
  return { line, gold, predicted: relationsOfAnswer(predict), label, predict };
}

/**
 * `predictions` are the labels that hold, and win over `relations`: `cre extract` keeps the fields of its input, so in its output
 * `relations` are the gold labels of a labelled input.
 */
function labelPrediction(fields: Fields, line: number, content: string): LabelPrediction {
  const id = fields.id == null ? undefined : idOf(fields.id, readMembers(content));
  if (id === null) {
    if (typeof fields.id !== "number") {
      throw new LineProblem(`"id" is ${describe(fields.id)}, expected a string or a number`);
    }
    throw new LineProblem(
      `"id" is ${readMembers(content).get("id")}, which a double cannot hold, expected fewer digits`,
    );
  }
  const hasKey = "sentence" in fields || "head" in fields || "tail" in fields || id === undefined;
  const key = hasKey
    ? {
        sentence: text(fields, "sentence"),
        head: text(fields, "head"),
        tail: text(fields, "tail"),
        ...optionalSpan(fields, "headSpan"),
        ...optionalSpan(fields, "tailSpan"),
      }
    : {};
  const predicted =
    fields.predictions === undefined ? relationNames(fields.relations) : rankedLabels(fields.predictions);
  return { line, ...key, ...(id === undefined ? {} : { id }), predicted, argmax: predicted[0] ?? null };
}

/** A span as the data readers take it: {"start", "end"} or [start, end]; absent when there is none. */
function optionalSpan(fields: Fields, name: "headSpan" | "tailSpan"): Partial<Record<typeof name, Span>> {
  const value = fields[name];
  if (value === undefined || value === null) return {};
  const [start, end] = Array.isArray(value) ? value : [(value as Fields).start, (value as Fields).end];
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) {
    throw new LineProblem(`"${name}" is ${describe(value)}, expected {"start": 0, "end": 2} or [0, 2]`);
  }
  return { [name]: { start, end } };
}

/** Labels by falling probability; equal ones stay in the order given. */
function rankedLabels(value: unknown): string[] {
  const items = list(value, "predictions").map((item, position) => {
    const where = `"predictions" item ${position + 1}`;
    if (typeof item !== "object" || item === null || Array.isArray(item)) {
      throw new LineProblem(`${where} is ${describe(item)}, expected {"relation", "probability"}`);
    }
    const { relation, probability } = item as Fields;
    if (typeof relation !== "string") {
      throw new LineProblem(`${where}: "relation" is ${describe(relation)}, expected a string`);
    }
    if (typeof probability !== "number" || !(probability >= 0 && probability <= 1)) {
      throw new LineProblem(`${where}: "probability" is ${describe(probability)}, expected a number from 0 to 1`);
    }
    return { relation, probability };
  });
  return items.sort((a, b) => b.probability - a.probability).map((item) => item.relation);
}

function relationNames(value: unknown): string[] {
  return list(value, "relations").map((item, position) => {
    if (typeof item === "string") return item;
    throw new LineProblem(`"relations" item ${position + 1} is ${describe(item)}, expected a string`);
  });
}

function list(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw new LineProblem(`"${name}" is ${describe(value)}, expected a list`);
  if (value.length > MAX_LABELS_PER_LINE) {
    throw new LineProblem(`"${name}" has ${value.length} items, expected at most ${MAX_LABELS_PER_LINE}`);
  }
  return value;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw new LineProblem(`"${name}" is ${describe(value)}, expected a string`);
  return value;
}

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? shorten(value) : String(value);
}

function shorten(value: string): string {
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
}
