import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "./bounded-json.ts";
import { expectFewSteps, expectGrowth, isShortContent } from "./step-bounds.ts";

/** How a text is changed before it is cut. */
export interface NormalizerSteps {
  normalize(text: string): string;
  /** Whether it may remove the first characters of a text. */
  removesStart: boolean;
}

const UNICODE_FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;
const SUPPORTED = `none, ${UNICODE_FORMS.join(", ")}, Prepend, Replace, or a Sequence of these`;

/**
 * The expressions of Replace that transformers writes for SentencePiece's treatment of spaces. Every other one is refused: an expression from
 * a hostile file could take forever.
 */
const EXPRESSIONS: ReadonlyMap<string, { expression: RegExp; removesStart: boolean }> = new Map([
  ["\\A +| +\\z", { expression: /^ +| +$/g, removesStart: true }],
  [" {2,}", { expression: / {2,}/g, removesStart: false }],
  ["\\A▁", { expression: /^▁/g, removesStart: false }],
]);

/** Reads the normalizer of a tokenizer.json; errors use `name`. Throws a UserError for a kind that is not supported. */
export function readNormalizer(value: unknown, name: string): NormalizerSteps {
  if (value === undefined || value === null) return { normalize: (text) => text, removesStart: false };
  const isSequence = isJsonObject(value) && value.type === "Sequence" && Array.isArray(value.normalizers);
  const parts = isSequence ? (value.normalizers as unknown[]) : [value];
  expectFewSteps(parts, `${name}: normalizer`);
  const steps = parts.map((step) => readStep(step, name));
  return {
    normalize: (text) => {
      let soFar = text;
      for (const step of steps) {
        soFar = step.normalize(soFar);
        expectGrowth(text.length, soFar.length, `${name}: normalizer`);
      }
      return soFar;
    },
    removesStart: steps.some((step) => step.removesStart),
  };
}

function readStep(step: unknown, name: string): NormalizerSteps {
  const refused = () => new UserError(`${name}: normalizer is ${showValue(step)}, supported: ${SUPPORTED}.`);
  if (!isJsonObject(step)) throw refused();
  const form = UNICODE_FORMS.find((one) => one === step.type);
  if (form) return { normalize: (text) => text.normalize(form), removesStart: false };
  if (step.type === "Prepend" && isShortContent(step.prepend)) {
    const prefix = step.prepend;
    return { normalize: (text) => (text === "" ? "" : prefix + text), removesStart: false };
  }
  const replacement = step.type === "Replace" ? readReplacement(step) : null;
  if (replacement === null) throw refused();
  const { pattern, content } = replacement;
  // A function, so that "$" in the content is no pattern.
  if (typeof pattern === "string") {
    return { normalize: (text) => text.replaceAll(pattern, () => content), removesStart: content === "" };
  }
  const { expression, removesStart } = pattern;
  return { normalize: (text) => text.replace(expression, () => content), removesStart };
}

function readReplacement({ pattern, content }: JsonObject) {
  if (!isJsonObject(pattern) || !isShortContent(content)) return null;
  if (typeof pattern.String === "string" && pattern.String !== "") return { pattern: pattern.String, content };
  const expression = typeof pattern.Regex === "string" ? EXPRESSIONS.get(pattern.Regex) : undefined;
  return expression ? { pattern: expression, content } : null;
}
