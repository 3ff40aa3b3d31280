import { type Api, ApiProblem } from "../shell/api.ts";
import type { GivenName } from "./given-names.ts";
import {
  movedMention,
  type PageTriple,
  pageTriple,
  type SentencePlace,
  type Triple,
  type TripleMention,
} from "./page-triple.ts";
import { joined, partsOf } from "./parts.ts";

/** A line of a streamed answer. */
type StreamLine =
  | { triple: Triple }
  | { mentions: TripleMention[]; document: string; text?: string }
  | { badDocument: string; reason: string }
  | { counts: ExtractionCounts };

/** What was not asked, or not answered: shown, never silent. */
export interface ExtractionCounts {
  pairs?: number;
  cutByCap?: number;
  badPairs?: number;
  truncated?: number;
  badDocuments?: number;
}

export interface ExtractionSettings {
  run: string;
  /** Sentences beyond it are cut into windows, as the server does. */
  maxCharacters: number;
  names: readonly GivenName[];
  find: boolean;
  /** The server's own names are used where there are no others. */
  usesServerNames: boolean;
}

/** What is told while a text or a file is extracted. */
export interface ExtractionEvents {
  onDocument(id: string, text: string): void;
  onMentions(document: string, mentions: readonly TripleMention[]): void;
  onTriple(triple: PageTriple): void;
  onBadDocument(id: string, reason: string): void;
  onCounts(counts: ExtractionCounts): void;
  /** Sentences that are answered, of all; for a file, documents that were read, of an unknown number (null). */
  onProgress(done: number, of: number | null): void;
}

/** Name of the document that a pasted text is. */
export const TEXT_DOCUMENT = "text";

const PARALLEL_PARTS = 2;
const TRIES = 6;
const WAIT_MS = 1_500;

const entitiesOf = ({ names, find, usesServerNames }: ExtractionSettings) => ({
  ...(names.length > 0 || !usesServerNames ? { entities: names } : {}),
  ...(find ? { find } : {}),
});

/** Extracts a text part by part. Throws what stops it; what was told before holds. */
export async function extractText(
  api: Api,
  text: string,
  settings: ExtractionSettings,
  events: ExtractionEvents,
  signal: AbortSignal,
): Promise<void> {
  const parts = partsOf(text, settings.maxCharacters);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  let done = 0;
  const ask = async (sentences: readonly SentencePlace[]): Promise<void> => {
    const began = performance.now();
    try {
      await extractPart(api, joined(text, sentences), settings, events, both);
      done += sentences.length;
      events.onProgress(done, parts.sentences);
    } catch (error) {
      // Too much for the server's time limit: in two halves, and the next parts are shorter.
      if (!(error instanceof ApiProblem) || error.code !== "timed-out" || sentences.length === 1) throw error;
      const half = sentences.length >> 1;
      await ask(sentences.slice(0, half));
      await ask(sentences.slice(half));
    }
    parts.answered(sentences, performance.now() - began);
  };
  const work = async () => {
    for (let part = parts.next(); part !== null && !both.aborted; part = parts.next()) await ask(part);
  };
  events.onDocument(TEXT_DOCUMENT, text);
  events.onProgress(0, parts.sentences);
  try {
    await Promise.all(Array.from({ length: PARALLEL_PARTS }, work));
  } finally {
    stop.abort();
  }
  signal.throwIfAborted();
}

async function extractPart(
  api: Api,
  { text, start, startPoints }: SentencePlace,
  settings: ExtractionSettings,
  events: ExtractionEvents,
  signal: AbortSignal,
): Promise<void> {
  const body = { run: settings.run, text, ...entitiesOf(settings) };
  const answer = await asked();
  events.onMentions(
    TEXT_DOCUMENT,
    answer.mentions.map((one) => movedMention(one, start, startPoints)),
  );
  for (const triple of answer.triples) events.onTriple(pageTriple(movedTriple(triple, start, startPoints)));
  if (answer.counts) events.onCounts(answer.counts);

  async function asked(): Promise<PartAnswer> {
    for (let tried = 1; ; tried++) {
      try {
        return await api.post<PartAnswer>("v1/extract", body, signal);
      } catch (error) {
        // A full queue empties; the request was not begun.
        if (!(error instanceof ApiProblem) || error.code !== "queue-full" || tried >= TRIES) throw error;
        await pause(tried * WAIT_MS, signal);
      }
    }
  }
}

interface PartAnswer {
  mentions: TripleMention[];
  triples: Triple[];
  counts?: ExtractionCounts;
}

const movedTriple = (triple: Triple, units: number, points: number): Triple => ({
  ...triple,
  document: TEXT_DOCUMENT,
  sentenceStart: triple.sentenceStart + points,
  head: movedMention(triple.head, units, points),
  tail: movedMention(triple.tail, units, points),
});

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((done, fail) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(signal.reason);
    });
  });

/** Extracts a file, which the server reads. */
export async function extractFile(
  api: Api,
  file: File,
  settings: ExtractionSettings,
  events: ExtractionEvents,
  signal: AbortSignal,
): Promise<void> {
  const form = new FormData();
  const given = { run: settings.run, ...entitiesOf(settings), stream: true, texts: true };
  form.set("settings", JSON.stringify(given));
  form.set("file", file, file.name);
  events.onProgress(0, null);
  let documents = 0;
  for await (const line of api.lines<StreamLine>("v1/documents", form, signal)) {
    if ("triple" in line) events.onTriple(pageTriple(line.triple));
    else if ("mentions" in line) {
      if (line.text !== undefined) {
        events.onDocument(line.document, line.text);
        events.onProgress(++documents, null);
      }
      events.onMentions(line.document, line.mentions);
    } else if ("badDocument" in line) events.onBadDocument(line.badDocument, line.reason);
    else events.onCounts(line.counts);
  }
}
