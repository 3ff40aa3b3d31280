import { ownTurn } from "../base/loop-turns.ts";
import type { Mention, OverlapPolicy, SlowMentionFinder } from "../documents/mention.ts";
import { type CodePointOffsets, codePointOffsets } from "../documents/offsets.ts";
import type { ReadItem } from "../documents/read/format.ts";
import { type DocumentCounts, extractDocuments } from "../extract/document-corpus.ts";
import type { Extraction, Unextracted } from "../extract/extractor.ts";
import { withModelMentions } from "../extract/model-mentions.ts";
import type { Triple, TripleMention } from "../extract/triples.ts";
import { thresholdsFor } from "../runs/calibration.ts";
import type { ServeContext } from "./context.ts";
import { type Question, queuedExtractor } from "./extract-lane.ts";
import { findInParts } from "./find-in-parts.ts";
import { type GivenEntity, givenFinder } from "./given-entities.ts";
import { Problem } from "./problem.ts";
import type { Ticket } from "./scheduler.ts";
import type { ServedRun } from "./served-run.ts";

/** Pairs of one text that wait at a time: the others are made when these are answered. */
const WINDOW_ITEMS = 128;

/** Mentions of one event: longer lists would hold the event loop while they are written. */
const TOLD_MENTIONS = 500;

export interface TextSettings {
  window?: number;
  maxPairs?: number;
  minProbability?: number;
  precision?: number;
  overlap?: OverlapPolicy;
  /** The first mentions of each document come with its text. */
  texts?: boolean;
}

/** What comes of a text, in order. */
export type TextEvent =
  | { triple: Triple }
  | { mentions: TripleMention[]; document: string; text?: string }
  | { badDocument: string; reason: string }
  | { counts: DocumentCounts };

/** Finds the mentions for a text; null where the request and the server have no source of entities. */
export function finderFor(
  { entities: ofServer }: Pick<ServeContext, "entities">,
  served: ServedRun,
  ticket: Pick<Ticket, "ask">,
  given: { entities?: readonly GivenEntity[]; find?: boolean; overlap?: OverlapPolicy },
  text: string | null,
): SlowMentionFinder {
  const { entities, overlap = "longest" } = given;
  const own = ofServer ? findInParts(ofServer.finder) : undefined;
  const known = entities ? givenFinder(entities, text, overlap) : own;
  const find = given.find ?? (ofServer?.fromModel && !entities);
  if (find) {
    const lane = served.mentions;
    if (!lane) {
      throw new Problem("unusable", `The run ${served.name} was not trained to find entities.`, {
        hint: "Give entities with the text, or train a run with tasks: [relations, mentions].",
      });
    }
    return withModelMentions(
      { finder: known ?? { find: () => [] }, overlap },
      { find: (sentences) => ticket.ask(lane, sentences) },
    );
  }
  if (known) return known;
  throw new Problem("bad-request", "The text comes without entities, and the server has no names of its own.", {
    hint: served.mentions
      ? 'Give "entities", or "find": true to find them with the run.'
      : 'Give "entities", or start the server with --entities names.csv.',
  });
}

/** Extracts documents as `cre extract --entities` does, and tells what was found as it is known; `onAnswers` hears of every pair. */
export async function* textEvents(
  context: Pick<ServeContext, "metrics">,
  served: ServedRun,
  ticket: Ticket,
  documents: AsyncIterable<ReadItem>,
  finder: SlowMentionFinder,
  settings: TextSettings,
  onAnswers: (questions: readonly Question[], results: readonly (Extraction | Unextracted)[]) => void = () => {},
): AsyncGenerator<TextEvent> {
  const { run, fingerprint } = served;
  const { window = 1, maxPairs = 100, minProbability = 0, precision } = settings;
  const thresholds = precision === undefined ? null : thresholdsFor(run.calibration, precision, served.name);
  const extractor = queuedExtractor(run.extractor, async (questions) => {
    const results = await ticket.ask(served.pairs, questions);
    context.metrics.answers(served.name, results);
    onAnswers(questions, results);
    return results;
  });
  const ready: TextEvent[] = [];
  let wake = () => {};
  let ended = false;
  const tell = (event: TextEvent) => {
    ready.push(event);
    wake();
  };
  /** Lets a slow reader hold the extraction: the next document is read while the answers of one are told, and both may wait. */
  let held: (() => void)[] = [];
  const resume = () => {
    const waiting = held;
    held = [];
    for (const proceed of waiting) proceed();
  };
  const drained = async () => {
    while (ready.length > 0 && !ticket.signal.aborted) await new Promise<void>((done) => held.push(done));
    ticket.signal.throwIfAborted();
  };
  const release = () => resume();
  ticket.signal.addEventListener("abort", release, { once: true });
  const output = {
    done: [],
    part: "",
    async add(lines: string) {
      for (const line of lines.split("\n")) if (line !== "") tell({ triple: JSON.parse(line) as Triple });
      await drained();
    },
  };
  const work = extractDocuments(
    extractor,
    documents,
    finder,
    output,
    {
      ...{ window, maxPairs, minProbability, thresholds, windowItems: WINDOW_ITEMS, run: fingerprint },
      ...{ maxCharacters: run.recipe.prompt.maxPromptTokens, labels: run.labels },
    },
    {
      signal: ticket.signal,
      async onDocument({ id, text }, mentions) {
        const offsets = codePointOffsets(text);
        for (let from = 0; from < Math.max(1, mentions.length); from += TOLD_MENTIONS) {
          if (from > 0) await ownTurn();
          ticket.signal.throwIfAborted();
          const withText = settings.texts && from === 0 ? { text } : {};
          const told = mentions.slice(from, from + TOLD_MENTIONS);
          tell({ document: id, ...withText, mentions: told.map((mention) => mentionOf(mention, text, offsets)) });
          await drained();
        }
      },
      onBadDocument: ({ id, reason }) => tell({ badDocument: id, reason }),
    },
  ).then(
    (counts) => tell({ counts }),
    (error: unknown) => {
      failure = { error };
    },
  );
  let failure: { error: unknown } | null = null;
  void work.then(() => {
    ended = true;
    wake();
  });
  try {
    for (;;) {
      while (ready.length > 0) yield ready.shift() as TextEvent;
      resume();
      if (ended && ready.length === 0) break;
      await new Promise<void>((done) => {
        wake = done;
        if (ready.length > 0 || ended) done();
      });
    }
    if (failure !== null) throw (failure as { error: unknown }).error;
  } finally {
    ticket.signal.removeEventListener("abort", release);
  }
}

function mentionOf(
  { start, end, id, name, type, probability }: Mention,
  text: string,
  { toCodePoint }: CodePointOffsets,
): TripleMention {
  const own = text.slice(start, end);
  const [from, to] = [toCodePoint(start), toCodePoint(end)];
  const mention = { text: own, id, name, type, start: from, end: to, startUtf16: start, endUtf16: end };
  return probability === undefined ? mention : { ...mention, probability: Number(probability.toFixed(6)) };
}
