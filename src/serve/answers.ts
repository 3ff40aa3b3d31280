import type { Example, LabelSet, Span } from "../data/example.ts";
import type { Extraction, Unextracted } from "../extract/extractor.ts";

/** An example as a request has it. */
export interface GivenExample {
  sentence: string;
  head: string;
  tail: string;
  headSpan?: Span | [number, number];
  tailSpan?: Span | [number, number];
  id?: string | number;
}

export function exampleOf({ sentence, head, tail, headSpan, tailSpan, id }: GivenExample): Example {
  return {
    ...{ sentence, head, tail },
    ...(headSpan === undefined ? {} : { headSpan: spanOf(headSpan) }),
    ...(tailSpan === undefined ? {} : { tailSpan: spanOf(tailSpan) }),
    ...(id === undefined ? {} : { id }),
  };
}

const spanOf = (span: Span | [number, number]): Span =>
  Array.isArray(span) ? { start: span[0], end: span[1] } : { start: span.start, end: span.end };

export interface PairAnswer {
  id?: string | number;
  predictions?: { relation: string; probability: number }[];
  probabilities?: Record<string, number>;
  modelProbabilities?: Record<string, number>;
  truncated?: true;
  generated?: string;
  error?: string;
}

const rounded = (probability: number) => Number(probability.toFixed(6));

/** The answer to one example, as `cre extract` writes it. */
export function pairAnswer(
  result: Extraction | Unextracted,
  { labels }: LabelSet,
  options: { id?: string | number; minProbability?: number; probabilities?: boolean },
): PairAnswer {
  const { id, minProbability = 0, probabilities = false } = options;
  const own = id === undefined ? {} : { id };
  if ("problem" in result) return { ...own, error: result.problem };
  const byLabel = (values: Float64Array) => Object.fromEntries(labels.map((label, i) => [label, rounded(values[i])]));
  return {
    ...own,
    predictions: result.predictions
      .filter(({ probability }) => probability >= minProbability)
      .map(({ relation, probability }) => ({ relation, probability: rounded(probability) })),
    ...(probabilities
      ? { probabilities: byLabel(result.probabilities), modelProbabilities: byLabel(result.modelProbabilities) }
      : {}),
    ...(result.truncated ? { truncated: true as const } : {}),
    ...(result.generated ? { generated: result.generated.text } : {}),
  };
}
