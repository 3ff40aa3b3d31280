import type { Example } from "../data/example.ts";
import { mergeRows } from "../data/split.ts";
import type { Extraction, Extractor } from "../extract/extractor.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "../extract/windows.ts";
import type { BootstrapOptions } from "./bootstrap.ts";
import { computeMetrics, type Metrics } from "./metrics.ts";
import type { ScoredRow } from "./rows.ts";

/** The outcome of running an extractor over labelled examples. */
export interface Evaluation {
  metrics: Metrics;
  /** The labelled rows, those of equal input merged; `rows` and `extractions` are in their order. */
  examples: readonly Example[];
  rows: ScoredRow[];
  extractions: Extraction[];
  /** Sentences that were shortened to fit the model. */
  truncated: number;
}

interface EvaluationOptions {
  /** Null computes no intervals. */
  bootstrap?: BootstrapOptions | null;
  /** Rows of the file that were left out, and rows that were merged before, for the counts of the metrics. */
  badRows?: number;
  mergedRows?: number;
  windowRows?: number;
  onRows?: (done: number) => void;
}

/**
 * Extracts the examples exactly as users' rows are extracted and scores the result against their relations. Rows of equal input become one
 * row, as everywhere; the metrics count them.
 * `onRows` is called with the number of examples done.
 */
export async function evaluate(
  extractor: Extractor,
  labelled: readonly Example[],
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { examples, merged } = mergeRows(labelled);
  const extractions: Extraction[] = [];
  for await (const window of windowsOf(examples, options.windowRows ?? DEFAULT_WINDOW_ROWS)) {
    extractions.push(...(await extractor.extract(window)));
    options.onRows?.(extractions.length);
  }
  const rows = examples.map((example, i) => scoredRow(example, extractions[i]));
  const metrics = computeMetrics(rows, extractor.labels, {
    bootstrap: options.bootstrap,
    badRows: options.badRows,
    mergedRows: merged + (options.mergedRows ?? 0),
  });
  return { metrics, examples, rows, extractions, truncated: extractions.filter((one) => one.truncated).length };
}

function scoredRow(example: Example, extraction: Extraction): ScoredRow {
  const predicted = extraction.predictions.map(({ relation }) => relation);
  // Labels that a generated answer invented count as wrong predictions.
  if (extraction.generated) predicted.push(...extraction.generated.unknownLabels);
  return { gold: example.relations ?? [], predicted, argmax: predicted[0] ?? null, group: example.sentence };
}
