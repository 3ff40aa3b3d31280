import { type Api, ApiProblem } from "../shell/api.ts";
import type { GivenName } from "./given-names.ts";
import { movedMention, type PageTriple, pageTriple, type Triple, type TripleMention } from "./page-triple.ts";
import { partsOf, type TextPart } from "./parts.ts";

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
  /** Parts that are answered, of all; `of` is null where nobody knows. */
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
  events.onDocument(TEXT_DOCUMENT, text);
  events.onProgress(0, parts.length);
  let [next, done] = [0, 0];
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const work = async () => {
    while (next < parts.length && !both.aborted) {
      await extractPart(api, parts[next++], settings, events, both);
      events.onProgress(++done, parts.length);
    }
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL_PARTS }, work));
  } finally {
    stop.abort();
  }
  signal.throwIfAborted();
}

async function extractPart(
  api: Api,
  { text, start, startPoints }: TextPart,
  settings: ExtractionSettings,
  events: ExtractionEvents,
  signal: AbortSignal,
): Promise<void> {
  const body = { run: settings.run, text, ...entitiesOf(settings) };
  for (let tried = 1; ; tried++) {
    try {
      const answer = await api.post<{ mentions: TripleMention[]; triples: Triple[]; counts?: ExtractionCounts }>(
        "v1/extract",
        body,
        signal,
      );
      events.onMentions(
        TEXT_DOCUMENT,
        answer.mentions.map((one) => movedMention(one, start, startPoints)),
      );
      for (const triple of answer.triples) events.onTriple(pageTriple(movedTriple(triple, start, startPoints)));
      if (answer.counts) events.onCounts(answer.counts);
      return;
    } catch (error) {
      // A full queue empties; the request was not begun.
      if (!(error instanceof ApiProblem) || error.code !== "queue-full" || tried >= TRIES) throw error;
      await pause(tried * WAIT_MS, signal);
    }
  }
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
