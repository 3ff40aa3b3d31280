import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { isStopped } from "../shell/api.ts";
import { usePage } from "../shell/page-context.ts";
import { earlierRows, withEarlier } from "./earlier.ts";
import { type ExtractionEvents, extractFile, extractText } from "./extraction.ts";
import type { GivenName } from "./given-names.ts";
import { createCollector, NO_RESULTS, type Results } from "./results.ts";

export interface ExtractionInput {
  text: string;
  /** Instead of the text. */
  file: File | null;
  names: readonly GivenName[];
  find: boolean;
}

export interface Extraction {
  /** Null before the first one. */
  results: Results | null;
  progress: { done: number; of: number | null };
  isRunning: boolean;
  wasStopped: boolean;
  error: unknown;
  start(input: ExtractionInput): void;
  stop(): void;
  /** Changes the results at once, and returns them; null where there are none. */
  change(next: (results: Results) => Results): Results | null;
  /** The id of the row that says what was said of a pair (`placeKey`) at an earlier visit; null where nothing was. */
  earlierRow(key: string): string | null;
  /** Stops, and forgets the results. */
  clear(): void;
}

/** The page is drawn anew at most this often while results come. */
const DRAW_MS = 150;

export function useExtraction(): Extraction {
  const { api, run, server } = usePage();
  // The results themselves, and what is drawn of them: answers and a person's changes come at any time.
  const latest = useRef<Results | null>(null);
  const [results, setResults] = useState<Results | null>(null);
  const set = useCallback((next: Results | null) => {
    latest.current = next;
    setResults(next);
  }, []);
  const [progress, setProgress] = useState<Extraction["progress"]>({ done: 0, of: null });
  const [isRunning, setRunning] = useState(false);
  const [wasStopped, setStopped] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const running = useRef<AbortController | null>(null);
  const earlier = useRef<ReadonlyMap<string, string>>(new Map());
  const stop = useCallback(() => running.current?.abort(), []);
  useEffect(() => stop, [stop]);

  const start = ({ text, file, names, find }: ExtractionInput) => {
    stop();
    const own = new AbortController();
    running.current = own;
    const collector = createCollector();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const draw = () => {
      timer = null;
      if (running.current === own) set(collector.addTo(latest.current ?? NO_RESULTS));
    };
    const drawSoon = () => {
      timer ??= setTimeout(draw, DRAW_MS);
    };
    const events: ExtractionEvents = {
      ...collector.events,
      onDocument(id, text) {
        collector.events.onDocument(id, text);
        drawSoon();
      },
      onTriple(triple) {
        collector.events.onTriple(triple);
        drawSoon();
      },
      onProgress(done, of) {
        setProgress({ done, of });
        drawSoon();
      },
    };
    const usesServerNames = server.hasEntities;
    const settings = { run: run.name, maxCharacters: run.maxPromptTokens, names, find, usesServerNames };
    setError(null);
    setStopped(false);
    setRunning(true);
    set(NO_RESULTS);
    const work =
      file === null
        ? extractText(api, text, settings, events, own.signal)
        : extractFile(api, file, settings, events, own.signal);
    const tell = (problem: unknown) => {
      if (running.current !== own) return;
      if (isStopped(problem)) setStopped(true);
      else setError(problem);
    };
    /** What was found up to now is judged as it was before, also where the rest failed or was stopped. */
    const recall = async () => {
      draw();
      if (!server.keepsLabelled || running.current !== own || latest.current === null) return;
      const rows = await earlierRows(api, run.name, latest.current.documents, run.maxPromptTokens);
      if (running.current !== own || latest.current === null) return;
      const { noRelation } = run.labels;
      const options = { run: run.name, noRelation, maxCharacters: run.maxPromptTokens };
      const judged = withEarlier(latest.current, rows, options);
      earlier.current = judged.ids;
      set(judged.results);
    };
    work
      .catch(tell)
      .then(recall)
      .catch(tell)
      .finally(() => {
        if (timer !== null) clearTimeout(timer);
        draw();
        if (running.current !== own) return;
        running.current = null;
        setRunning(false);
      });
  };
  const change = useCallback(
    (next: (results: Results) => Results) => {
      if (latest.current !== null) set(next(latest.current));
      return latest.current;
    },
    [set],
  );
  const clear = useCallback(() => {
    running.current?.abort();
    running.current = null;
    setRunning(false);
    setError(null);
    set(null);
  }, [set]);
  const earlierRow = useCallback((key: string) => earlier.current.get(key) ?? null, []);
  return { results, progress, isRunning, wasStopped, error, start, stop, change, earlierRow, clear };
}
