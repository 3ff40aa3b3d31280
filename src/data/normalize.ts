import { type Example, type Span, spanProblem } from "./example.ts";

/**
 * Unicode normalisation of the texts of a row before they are read: nfc joins letters with their combining marks, nfkc also folds full-width
 * and half-width forms and other compatibility characters.
 */
export type Normalization = "none" | "nfc" | "nfkc";

/** The example with sentence, head and tail normalised and its spans moved with them; a string says why a span cannot be moved. */
export function normalizedExample(example: Example, normalization: Normalization = "none"): Example | string {
  if (normalization === "none") return example;
  const form = normalization === "nfc" ? "NFC" : "NFKC";
  const { sentence, head, tail, headSpan, tailSpan } = example;
  const texts = { sentence: sentence.normalize(form), head: head.normalize(form), tail: tail.normalize(form) };
  const normalized: Example = { ...example, ...texts };
  for (const [role, entity, span] of [
    ["head", head, headSpan],
    ["tail", tail, tailSpan],
  ] as const) {
    if (span === undefined) continue;
    const problem = spanProblem(sentence, role, entity, span);
    if (problem !== null) return problem;
    const moved = movedSpan(sentence, span, form);
    if (texts.sentence.slice(moved.start, moved.end) !== texts[role]) {
      return `got the ${role} span [${span.start}, ${span.end}), which cuts through a character of the sentence in ${form}`;
    }
    normalized[`${role}Span`] = moved;
  }
  return normalized;
}

function movedSpan(sentence: string, { start, end }: Span, form: "NFC" | "NFKC"): Span {
  const from = sentence.slice(0, start).normalize(form).length;
  return { start: from, end: from + sentence.slice(start, end).normalize(form).length };
}
