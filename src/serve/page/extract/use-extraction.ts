import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { isStopped } from "../shell/api.ts";
import { usePage } from "../shell/page-context.ts";
import { type ExtractionCounts, type ExtractionEvents, extractFile, extractText } from "./extraction.ts";
import { byPlace } from "./filter.ts";
import type { GivenName } from "./given-names.ts";
import type { PageDocument, PageTriple } from "./page-triple.ts";

/** What an extraction has found so far. */
export interface Results {
  documents: readonly PageDocument[];
  /** In the order of documents and places. */
  triples: readonly PageTriple[];
  badDocuments: readonly { id: string; reason: string }[];
  counts: Required<ExtractionCounts>;
}

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
  change(next: (results: Results) => Results): void;
}

const NO_COUNTS: Required<ExtractionCounts> = { pairs: 0, cutByCap: 0, badPairs: 0, truncated: 0, badDocuments: 0 };
/** The page is drawn anew at most this often while results come. */
const DRAW_MS = 150;

export function useExtraction(): Extraction {
  const { api, run, server } = usePage();
  const [results, setResults] = useState<Results | null>(null);
  const [progress, setProgress] = useState<Extraction["progress"]>({ done: 0, of: null });
  const [isRunning, setRunning] = useState(false);
  const [wasStopped, setStopped] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const running = useRef<AbortController | null>(null);
  const stop = useCallback(() => running.current?.abort(), []);
  useEffect(() => stop, [stop]);

  const start = ({ text, file, names, find }: ExtractionInput) => {
    stop();
    const own = new AbortController();
    running.current = own;
    const gathered = gather();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const draw = () => {
      timer = null;
      if (running.current === own) setResults(gathered.results());
    };
    const drawSoon = () => {
      timer ??= setTimeout(draw, DRAW_MS);
    };
    const events: ExtractionEvents = {
      ...gathered.events,
      onDocument(id, text) {
        gathered.events.onDocument(id, text);
        drawSoon();
      },
      onTriple(triple) {
        gathered.events.onTriple(triple);
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
    setResults(gathered.results());
    const work =
      file === null
        ? extractText(api, text, settings, events, own.signal)
        : extractFile(api, file, settings, events, own.signal);
    work
      .catch((problem: unknown) => {
        if (running.current !== own) return;
        if (isStopped(problem)) setStopped(true);
        else setError(problem);
      })
      .finally(() => {
        if (timer !== null) clearTimeout(timer);
        draw();
        if (running.current !== own) return;
        running.current = null;
        setRunning(false);
      });
  };
  const change = useCallback((next: (results: Results) => Results) => setResults((now) => now && next(now)), []);
  return { results, progress, isRunning, wasStopped, error, start, stop, change };
}

/** Collects what is told. */
function gather() {
  const documents = new Map<string, PageDocument>();
  const triples = new Map<string, Map<string, PageTriple>>();
  const badDocuments: Results["badDocuments"][number][] = [];
  const counts = { ...NO_COUNTS };
  const events = {
    onDocument(id: string, text: string) {
      documents.set(id, { id, text, mentions: [] });
      triples.set(id, new Map());
    },
    onMentions(id: string, mentions: PageDocument["mentions"] | readonly PageDocument["mentions"][number][]) {
      documents.get(id)?.mentions.push(...mentions);
    },
    onTriple(triple: PageTriple) {
      triples.get(triple.document)?.set(triple.key, triple);
    },
    onBadDocument(id: string, reason: string) {
      badDocuments.push({ id, reason });
    },
    onCounts(own: ExtractionCounts) {
      for (const key of Object.keys(counts) as (keyof ExtractionCounts)[]) counts[key] += own[key] ?? 0;
    },
  };
  const results = (): Results => ({
    documents: Array.from(documents.values(), ({ mentions, ...document }) => ({
      ...document,
      mentions: mentions.toSorted((a, b) => a.startUtf16 - b.startUtf16),
    })),
    triples: Array.from(triples.values()).flatMap((own) => [...own.values()].sort(byPlace)),
    badDocuments: [...badDocuments],
    counts: { ...counts },
  });
  return { events, results };
}
