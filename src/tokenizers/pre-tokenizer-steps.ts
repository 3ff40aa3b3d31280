import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "./bounded-json.ts";
import { SPACE_MARK } from "./normalizer.ts";
import { expectFewSteps } from "./step-bounds.ts";

/** Cuts a normalised text into words, which are then joined from characters; `isStart`: the text is the beginning of all of it. */
export type PreTokenizer = (text: string, isStart: boolean) => string[];

export interface PreTokenizerSteps {
  words: PreTokenizer;
  /** Whether something is set before the beginning of all text only. */
  marksStart: boolean;
  /** Whether a text may become several words, between which nothing is joined. */
  isolates: boolean;
}

type Step = (parts: string[], isStart: boolean) => string[];

const SUPPORTED = "none, Metaspace, Split by literal texts, or a Sequence of these";
const BEHAVIORS = ["Isolated", "MergedWithPrevious", "MergedWithNext"] as const;
type Behavior = (typeof BEHAVIORS)[number];

/**
 * Reads the pre_tokenizer of a tokenizer.json whose pieces are texts; errors use `where`. Throws a UserError for a kind that is not
 * supported.
 */
export function readPreTokenizer(value: unknown, where: string): PreTokenizerSteps {
  const steps = value === undefined || value === null ? [] : stepsOf(value);
  expectFewSteps(steps, where);
  const cutters = steps.map((step) => readStep(step, where));
  return {
    words: (text, isStart) => cutters.reduce((parts, cut) => cut(parts, isStart), text === "" ? [] : [text]),
    marksStart: steps.some((step) => isJsonObject(step) && step.prepend_scheme === "first"),
    isolates: steps.some((step) => isJsonObject(step) && !(step.type === "Metaspace" && step.split === false)),
  };
}

const stepsOf = (value: unknown): readonly unknown[] =>
  isJsonObject(value) && value.type === "Sequence" && Array.isArray(value.pretokenizers)
    ? value.pretokenizers
    : [value];

function readStep(step: unknown, where: string): Step {
  const read = isJsonObject(step) ? (readMetaspace(step) ?? readSplit(step)) : null;
  if (read) return read;
  throw new UserError(`${where} has ${showValue(step)}, supported: ${SUPPORTED}.`);
}

/** Spaces become a visible mark, which is also set before a text that does not begin with one. */
export function metaspace(prepends: "always" | "first" | "never", mark = SPACE_MARK, splits = false): Step {
  const cut = splits ? cutterAt([mark], "MergedWithNext") : null;
  return (parts, isStart) =>
    parts.flatMap((part, i) => {
      const marked = part.replaceAll(" ", mark);
      const hasPlace = prepends === "always" || (prepends === "first" && isStart && i === 0);
      const text = hasPlace && !marked.startsWith(mark) ? mark + marked : marked;
      return cut ? cut(text) : [text];
    });
}

function readMetaspace(step: JsonObject): Step | null {
  if (step.type !== "Metaspace") return null;
  // Before tokenizers 0.15 there were two ways only.
  const older = step.add_prefix_space === false ? "never" : "always";
  const { replacement: mark = SPACE_MARK, prepend_scheme: scheme = older, split: splits = true } = step;
  const isMark = typeof mark === "string" && [...mark].length === 1;
  if (!isMark || typeof splits !== "boolean") return null;
  return scheme === "always" || scheme === "first" || scheme === "never" ? metaspace(scheme, mark, splits) : null;
}

function readSplit(step: JsonObject): Step | null {
  const behavior = BEHAVIORS.find((one) => one === step.behavior);
  if (step.type !== "Split" || !behavior || step.invert === true || !isJsonObject(step.pattern)) return null;
  const { String: text, Regex: expression } = step.pattern;
  const literals = typeof text === "string" ? [text] : typeof expression === "string" ? literalsOf(expression) : null;
  if (literals === null || literals.includes("")) return null;
  const cut = cutterAt(literals, behavior);
  return (parts) => parts.flatMap(cut);
}

/** The texts of an expression that only lists them, as Python's `"|".join(map(re.escape, texts))` writes it; null for any other one. */
function literalsOf(expression: string): string[] | null {
  const literals = [""];
  for (let at = 0; at < expression.length; at++) {
    let character = expression[at];
    if (character === "|") {
      literals.push("");
      continue;
    }
    if (character === "\\") {
      character = expression[++at] ?? "";
      // A letter or a digit after a backslash is a class or a reference.
      if (character === "" || /[A-Za-z0-9]/.test(character)) return null;
    } else if (/[.^$*+?()[\]{}]/.test(character)) return null;
    literals[literals.length - 1] += character;
  }
  return literals;
}

/** Cuts a text at texts, of which the first that fits is taken. */
function cutterAt(literals: readonly string[], behavior: Behavior): (text: string) => string[] {
  const escaped = literals.map((literal) => literal.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const expression = new RegExp(escaped.join("|"), "gu");
  return (text) => {
    const parts: string[] = [];
    let from = 0;
    const put = (end: number) => {
      if (end > from) parts.push(text.slice(from, end));
      from = Math.max(from, end);
    };
    for (const { index, 0: found } of text.matchAll(expression)) {
      if (behavior !== "MergedWithPrevious") put(index);
      if (behavior !== "MergedWithNext") put(index + found.length);
    }
    put(text.length);
    return parts;
  };
}
