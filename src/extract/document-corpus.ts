import { createHash } from "node:crypto";
import { createPieces } from "../base/loop-turns.ts";
import type { LabelSet } from "../data/example.ts";
import type { BadDocument, Document, Sentence } from "../documents/document.ts";
import type { Mention, SlowMentionFinder } from "../documents/mention.ts";
import { type CodePointOffsets, codePointOffsets } from "../documents/offsets.ts";
import { createPairer, emptyPairCounts, type Pair, type PairCounts, type PairSettings } from "../documents/pairs.ts";
import type { ReadItem } from "../documents/read/format.ts";
import { sentencesOf } from "../documents/sentences.ts";
import { unlessAborted } from "./abort.ts";
import { readAhead } from "./ahead.ts";
import { answerPairs, questionsOf } from "./answer-pairs.ts";
import type { Extractor } from "./extractor.ts";
import { type RelationThresholds, tripleOf } from "./triples.ts";
import { otherCall, type UnfinishedOutput, type WindowCounts } from "./unfinished.ts";
import { windowsOf } from "./windows.ts";

/** Documents and their pairs by outcome. */
export interface DocumentCounts extends PairCounts {
  documents: number;
  badDocuments: number;
  /** Documents in which no pair of entities is asked. */
  withoutPairs: number;
  /** Pairs that could not be extracted (they do not fit the model). */
  badPairs: number;
  /** Pairs whose sentence was shortened. */
  truncated: number;
  /** Pairs that an earlier, interrupted call extracted. */
  resumed: number;
  triples: number;
  /** Answers of no relation, relations below the least probability, and those whose opposite direction is more probable. */
  none: number;
  below: number;
  opposed: number;
}

export function emptyDocumentCounts(): DocumentCounts {
  const outcomes = { badPairs: 0, truncated: 0, resumed: 0, triples: 0, none: 0, below: 0, opposed: 0 };
  return { documents: 0, badDocuments: 0, withoutPairs: 0, ...emptyPairCounts(), ...outcomes };
}

export interface DocumentSettings extends PairSettings {
  minProbability: number;
  /** Least probabilities of relations for a wanted precision; null asks for none. */
  thresholds: RelationThresholds | null;
  /** Longer sentences are cut into windows of at most this number of UTF-16 units. */
  maxCharacters: number;
  /** Pairs, with documents and bad documents, that are held in memory and computed together. */
  windowItems: number;
  /** Fingerprint of the run, for the triples. */
  run: string;
  /** The extractor's label set with the type constraints to use. */
  labels: LabelSet;
}

export interface DocumentEvents {
  /** After each window of pairs. */
  onProgress?: (counts: Readonly<DocumentCounts>) => void | Promise<void>;
  onDocument?: (document: Document, mentions: readonly Mention[]) => void | Promise<void>;
  onBadDocument?: (bad: BadDocument) => void;
  /** A pair that could not be extracted. */
  onBadPair?: (document: string, problem: string) => void;
  signal?: AbortSignal;
}

/** What a window holds: pairs, and the ends of documents, so that documents without pairs count too. */
type Item =
  | { kind: "pair"; document: Document; offsets: CodePointOffsets; pair: Pair }
  | { kind: "end"; document: Document; pairs: number }
  | { kind: "bad"; bad: BadDocument };

/**
 * Streams documents through an extractor and adds their triples to an output, one JSON line each, in the order of the text. Windows that the
 * output already has are read again, to check that the input is the same, but not computed again. Memory is bounded by the window and the
 * largest document. The next documents are read while a window is computed. Throws a UserError when the input has changed.
 */
export async function extractDocuments(
  extractor: Extractor,
  documents: AsyncIterable<ReadItem>,
  finder: SlowMentionFinder,
  output: Pick<UnfinishedOutput, "done" | "add"> & { part: string },
  settings: DocumentSettings,
  events: DocumentEvents = {},
): Promise<DocumentCounts> {
  const counts = emptyDocumentCounts();
  const pairer = createPairer(settings.labels, settings);
  const items = itemsOf(documents, finder, pairer, settings, events);
  let windows = 0;
  for await (const window of readAhead(windowsOf(items, settings.windowItems))) {
    events.signal?.throwIfAborted();
    const checksum = checksumOf(window);
    const done = output.done[windows++];
    if (done) {
      if (done.input !== checksum) throw otherCall(output.part);
      counts.resumed += done.counts.extracted;
      addOutcomes(counts, done.counts);
    } else {
      const { lines, outcomes } = await extractWindow(extractor, window, settings, events);
      const { arithmetic } = extractor;
      await output.add(lines, { rows: window.length, input: checksum, arithmetic, counts: outcomes });
      addOutcomes(counts, outcomes);
    }
    for (const item of window) countItem(counts, item);
    await events.onProgress?.(Object.assign(counts, pairer.counts));
  }
  if (windows < output.done.length) throw otherCall(output.part);
  return Object.assign(counts, pairer.counts);
}

async function* itemsOf(
  documents: AsyncIterable<ReadItem>,
  finder: SlowMentionFinder,
  pairer: ReturnType<typeof createPairer>,
  { maxCharacters }: DocumentSettings,
  events: DocumentEvents,
): AsyncGenerator<Item, void, void> {
  for await (const document of documents) {
    if ("bad" in document) {
      events.onBadDocument?.(document.bad);
      yield { kind: "bad", bad: document.bad };
      continue;
    }
    // A long document would hold the event loop, and a server has others to answer.
    const pieces = createPieces();
    const pause = async () => {
      await pieces.next();
      events.signal?.throwIfAborted();
    };
    const sentences: Sentence[] = [];
    for (const windows of sentencesOf(document.text, { maxCharacters })) {
      sentences.push(...windows);
      if (pieces.isLong()) await pause();
    }
    const mentions = await finder.find(document, sentences);
    await events.onDocument?.(document, mentions);
    const offsets = codePointOffsets(document.text);
    let pairs = 0;
    for (const list of pairer.pairListsOf(document, sentences, mentions)) {
      if (pieces.isLong()) await pause();
      pairs += list.length;
      for (const pair of list) yield { kind: "pair", document, offsets, pair };
    }
    yield { kind: "end", document, pairs };
  }
}

function countItem(counts: DocumentCounts, item: Item): void {
  if (item.kind === "bad") counts.badDocuments++;
  else if (item.kind === "end") {
    counts.documents++;
    if (item.pairs === 0) counts.withoutPairs++;
  }
}

async function extractWindow(
  extractor: Extractor,
  window: readonly Item[],
  settings: DocumentSettings,
  events: DocumentEvents,
): Promise<{ lines: string; outcomes: WindowCounts }> {
  const pairs = window.flatMap((item) => (item.kind === "pair" ? [item.pair] : []));
  const answers = await unlessAborted(answerPairs(extractor, pairs, settings.labels, leastOf(settings)), events.signal);
  const usual = { extracted: 0, bad: 0, truncated: 0, unparsed: 0, unknownLabels: 0 };
  const outcomes = { ...usual, triples: 0, none: 0, below: 0, opposed: 0 };
  const lines: string[] = [];
  let next = 0;
  for (const item of window) {
    if (item.kind !== "pair") continue;
    const { document, offsets, pair } = item;
    const answer = answers[next++];
    if ("problem" in answer) {
      outcomes.bad++;
      events.onBadPair?.(document.id, answer.problem);
      continue;
    }
    const { found, none, below, opposed, truncated } = answer;
    outcomes.extracted++;
    if (truncated) outcomes.truncated++;
    outcomes.none += none;
    outcomes.below += below;
    outcomes.opposed += opposed;
    outcomes.triples += found.length;
    const { id, text } = document;
    const place = { document: id, text, sentence: pair.sentence, offsets, run: settings.run };
    for (const one of found) lines.push(`${JSON.stringify(tripleOf(one, place))}\n`);
  }
  return { lines: lines.join(""), outcomes };
}

/** The least probability of a relation. */
function leastOf({ minProbability, thresholds }: DocumentSettings): (relation: string) => number {
  if (!thresholds) return () => minProbability;
  return (relation) => Math.max(minProbability, thresholds.relations.get(relation) ?? thresholds.usual);
}

function addOutcomes(counts: DocumentCounts, outcomes: WindowCounts): void {
  counts.badPairs += outcomes.bad;
  counts.truncated += outcomes.truncated;
  counts.triples += outcomes.triples ?? 0;
  counts.none += outcomes.none ?? 0;
  counts.below += outcomes.below ?? 0;
  counts.opposed += outcomes.opposed ?? 0;
}

/** A checksum of all that the output of a window depends on. */
function checksumOf(window: readonly Item[]): string {
  const hash = createHash("sha256");
  for (const item of window) {
    const fields =
      item.kind === "pair"
        ? [
            item.document.id,
            item.pair.first,
            item.pair.second,
            item.pair.sentence,
            ...questionsOf(item.pair).map(maskOf),
          ]
        : item.kind === "end"
          ? [item.document.id, item.pairs]
          : [item.bad.id, item.bad.reason];
    hash.update(`${JSON.stringify(fields)}\n`);
  }
  return hash.digest("hex");
}

const maskOf = ({ mask }: { mask: Uint8Array | null }) => (mask === null ? null : Array.from(mask).join(""));
