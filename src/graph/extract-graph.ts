import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { UserError, UserErrors } from "../base/errors.ts";
import { expectUnlocked } from "../base/lock.ts";
import { checkOutputFolder } from "../base/output.ts";
import { openReplay, type Replay } from "../base/replay.ts";
import type { LabelSet } from "../data/example.ts";
import type { BadDocument } from "../documents/document.ts";
import type { Entities } from "../documents/entities.ts";
import type { SlowMentionFinder } from "../documents/mention.ts";
import type { KeptFiles, ReadItem } from "../documents/read/format.ts";
import { type DocumentCounts, type DocumentSettings, extractDocuments } from "../extract/document-corpus.ts";
import type { Extractor } from "../extract/extractor.ts";
import { keepingMentions } from "../extract/kept-mentions.ts";
import type { RelationThresholds } from "../extract/triples.ts";
import { arithmeticNotice, lockOf, openUnfinished } from "../extract/unfinished.ts";
import { type OutputText, outputFiles } from "./output-files.ts";
import { pageCollector } from "./page/data.ts";
import { type GraphCounts, type GraphFormat, removeLeftovers, TRIPLES_FILE, writeGraph } from "./write.ts";

export interface GraphOptions extends Omit<DocumentSettings, "windowItems" | "labels" | "thresholds"> {
  /** Least probabilities of relations for a wanted precision; default: none. */
  thresholds?: RelationThresholds | null;
  /** The label set with the type constraints of this extraction; default: the extractor's. */
  labels?: LabelSet;
  formats: readonly GraphFormat[];
  /** Whether an existing graph may be replaced. */
  replace?: boolean;
  /** Pairs that are computed together; part of an extraction's identity when it resumes. */
  windowItems?: number;
  /** Finds mentions in place of the entities' own finder. */
  finder?: SlowMentionFinder;
  /** Whether to keep what the finder finds until the graph is there: for one that takes long. */
  keepMentions?: boolean;
  /** Of the readers, for the summary. */
  readCounts?: unknown;
  onProgress?: (counts: Readonly<DocumentCounts>) => void;
  onBadDocument?: (bad: BadDocument) => void;
  onBadPair?: (document: string, problem: string) => void;
  onNotice?: (text: string) => void;
  /** When all triples are found and the files are written. */
  onWriting?: () => void;
  signal?: AbortSignal;
}

export interface GraphResult {
  counts: DocumentCounts;
  graph: GraphCounts;
}

const DEFAULT_WINDOW_ITEMS = 512;
const BAD_DOCUMENTS_FILE = "bad-documents.jsonl";
const MAX_KEPT_PROBLEMS = 3;

function thresholdsJson(thresholds: RelationThresholds | null): unknown {
  return thresholds && { usual: thresholds.usual, relations: Object.fromEntries(thresholds.relations) };
}

/** Checks before a model is loaded that a graph can be written into a folder. Throws a UserError. */
export async function checkGraphOutput(folder: string, inputs: readonly string[], replace: boolean): Promise<void> {
  await checkOutputFolder(folder);
  const triples = join(folder, TRIPLES_FILE);
  if (!replace && existsSync(triples)) {
    throw new UserError(`${triples}: exists already.`, { hint: "Give --overwrite to replace the graph." });
  }
  for (const input of inputs) {
    const path = relative(resolve(input), resolve(folder));
    if (input !== "-" && !path.startsWith("..") && !path.startsWith("/")) {
      throw new UserError(`${folder}: is inside of ${input}, where its files would be read as documents.`, {
        hint: "Give another folder with --output.",
      });
    }
  }
  await expectUnlocked(lockOf(resolve(triples)), folder);
}

/**
 * Extracts documents into a folder: `triples.jsonl`, the graph in the chosen formats, `bad-documents.jsonl` when there are some, and
 * `summary.json`. Finished triples are in `triples.jsonl.part` from the moment they are reported; after an interruption the next call
 * parses only documents that were not parsed, computes only what is missing, and ends with identical files. `triples.jsonl` appears last. Throws a UserError
 * when no document can be read, when another process writes the folder, or when the unfinished output is of another job or input.
 */
export async function extractGraph(
  extractor: Extractor,
  /** Documents, or how to read them with what an interrupted call parsed. */
  documents: AsyncIterable<ReadItem> | ((kept: KeptFiles) => AsyncIterable<ReadItem>),
  entities: Entities,
  folder: string,
  options: GraphOptions,
): Promise<GraphResult> {
  const { windowItems = DEFAULT_WINDOW_ITEMS, labels = extractor.labels, formats, run, minProbability } = options;
  const { window, maxPairs, maxCharacters } = options;
  const thresholds = options.thresholds ?? null;
  const settings = { ...{ window, maxPairs, maxCharacters, minProbability, thresholds, windowItems, run }, labels };
  const identity = [
    run,
    extractor.settings,
    entities.identity,
    { ...settings, labels: Array.from(labels.types ?? []), thresholds: thresholdsJson(thresholds) },
  ];
  const job = createHash("sha256").update(JSON.stringify(identity)).digest("hex");
  const path = resolve(folder, TRIPLES_FILE);
  const unfinished = await openUnfinished(path, join(folder, TRIPLES_FILE), job, windowItems);
  await removeLeftovers(folder);
  const files = outputFiles(folder);
  const collector = formats.includes("html") ? pageCollector() : null;
  const problems: BadDocument[] = [];
  let badDocuments: OutputText | null = null;
  const bad: BadDocument[] = [];
  const replays: Replay[] = [];
  const replay = async (what: string) => {
    const opened = await openReplay(`${path}.part.${what}`, job);
    replays.push(opened);
    return opened;
  };
  let isOver = false;
  try {
    const given = typeof documents === "function" ? documents(await replay("files")) : documents;
    const finder = options.finder ?? entities.finder;
    const part = join(folder, `${TRIPLES_FILE}.part`);
    const notice = arithmeticNotice(unfinished.done, part, extractor.arithmetic);
    if (notice !== null) options.onNotice?.(notice);
    const counts = await extractDocuments(
      extractor,
      given,
      options.keepMentions ? keepingMentions(finder, await replay("mentions")) : finder,
      { ...unfinished, part },
      settings,
      {
        onDocument: collector?.addDocument,
        onBadPair: options.onBadPair,
        signal: options.signal,
        onBadDocument(one) {
          if (problems.length < MAX_KEPT_PROBLEMS) problems.push(one);
          bad.push(one);
          options.onBadDocument?.(one);
        },
        async onProgress(now) {
          options.onProgress?.(now);
          if (bad.length === 0) return;
          badDocuments ??= await files.file(BAD_DOCUMENTS_FILE);
          for (const one of bad.splice(0)) badDocuments.write(`${JSON.stringify(one)}\n`);
          await badDocuments.flush();
        },
      },
    );
    if (counts.documents === 0) {
      await unfinished.discard();
      isOver = true;
      throw noDocuments(counts, problems);
    }
    options.onWriting?.();
    const { resumed, ...ofDocuments } = counts;
    const facts = { run, documents: counts.documents, badDocuments: counts.badDocuments, minProbability };
    const dictionary = entities.dictionary?.counts ?? null;
    const shown = { ...settings, labels: undefined, thresholds: thresholdsJson(thresholds) };
    const graph = await writeGraph(`${path}.part`, files, folder, {
      formats,
      run,
      page: collector && { collector, facts },
      summary: {
        settings: shown,
        documents: ofDocuments,
        read: options.readCounts ?? null,
        dictionary,
        columns: entities.columns,
      },
    });
    isOver = true;
    for (const one of replays.splice(0)) await one.close(isOver);
    await unfinished.finish();
    return { counts, graph };
  } catch (error) {
    await files.discard();
    throw error;
  } finally {
    for (const one of replays) await one.close(isOver);
    await unfinished.close();
  }
}

function noDocuments({ badDocuments }: DocumentCounts, problems: readonly BadDocument[]): UserError {
  if (badDocuments === 0) return new UserError("The input has no document with text.");
  const shown = problems.map(({ id, reason }) => `${id}: ${reason}`);
  if (badDocuments > shown.length) shown.push(`… and ${badDocuments - shown.length} more`);
  return new UserErrors(`Not one of ${badDocuments} documents can be read:`, shown);
}
