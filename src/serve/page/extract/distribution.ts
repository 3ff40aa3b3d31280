import { useEffect, useRef, useState } from "preact/hooks";
import { isStopped } from "../shell/api.ts";
import { usePage } from "../shell/page-context.ts";
import type { LabelledRow } from "./judge.ts";
import type { PairSelection } from "./selection.ts";

/** The answer of the run to one pair, with the probability of every label. */
export interface PairDistribution {
  probabilities: Readonly<Record<string, number>>;
  /** As the labelled set keeps it. */
  answered: LabelledRow["model"];
}

interface Answer {
  results: {
    predictions?: { relation: string; probability: number }[];
    probabilities?: Record<string, number>;
    error?: string;
  }[];
}

const MOST_KEPT = 500;
const WAIT_MS = 60;

/** Asks the run for a pair; answers are kept, so that going back and forth costs nothing. */
export function useDistribution({ sentence, head, tail }: PairSelection): {
  distribution: PairDistribution | null;
  error: unknown;
} {
  const { api, run } = usePage();
  const kept = useRef(new Map<string, PairDistribution>());
  const [error, setError] = useState<unknown>(null);
  const [, draw] = useState(0);
  const [headStart, tailStart] = [head.startUtf16 - sentence.start, tail.startUtf16 - sentence.start];
  const key = JSON.stringify([run.fingerprint, sentence.text, headStart, head.text, tailStart, tail.text]);

  useEffect(() => {
    setError(null);
    if (kept.current.has(key)) return;
    const gone = new AbortController();
    const example = {
      ...{ sentence: sentence.text, head: head.text, tail: tail.text },
      headSpan: [headStart, headStart + head.text.length],
      tailSpan: [tailStart, tailStart + tail.text.length],
    };
    const ask = async () => {
      try {
        const body = { run: run.name, examples: [example], probabilities: true };
        const [{ predictions = [], probabilities, error: problem }] = (
          await api.post<Answer>("v1/extract", body, gone.signal)
        ).results;
        if (probabilities === undefined) throw new Error(problem ?? "");
        if (kept.current.size >= MOST_KEPT) kept.current.clear();
        kept.current.set(key, { probabilities, answered: { fingerprint: run.fingerprint, predictions } });
        draw((count) => count + 1);
      } catch (problem) {
        if (!isStopped(problem)) setError(problem);
      }
    };
    // Who holds a key down passes many relations.
    const timer = setTimeout(ask, WAIT_MS);
    return () => {
      clearTimeout(timer);
      gone.abort();
    };
  }, [key]);
  return { distribution: kept.current.get(key) ?? null, error };
}
