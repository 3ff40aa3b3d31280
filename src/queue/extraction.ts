import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { UserError } from "../base/errors.ts";
import { withTypes } from "../data/label-set.ts";
import type { Document } from "../documents/document.ts";
import { type EntitySource, openEntities } from "../documents/entities.ts";
import { emptyCounts, extractLines } from "../extract/corpus.ts";
import { extractDocuments } from "../extract/document-corpus.ts";
import { withModelMentions } from "../extract/model-mentions.ts";
import { thresholdsFor } from "../runs/calibration.ts";
import type { Run } from "../runs/run.ts";
import type { Queue, QueueFile, QueueSettings } from "./queues.ts";

/** What a worker gets of a document. */
export interface Task {
  /** Id in the store. */
  document: string;
  /** Name in the queue. */
  key: string;
  /** JSON text, as it was added. */
  payload: string;
}

export interface BatchResult {
  /** Output lines of each document, in the order of the tasks. */
  lines: string[];
  counts: Record<string, number>;
}

export interface QueueExtraction {
  extract(tasks: readonly Task[]): Promise<BatchResult>;
}

/** What a document is in the store. */
export type DocumentPayload = Pick<Document, "text" | "fields">;
/** What a row is in the store. */
export interface RowPayload {
  line: number;
  text: string;
}

/** Pairs that are computed together. */
const WINDOW_ITEMS = 512;

/** Opens what a queue's documents are extracted with. Throws a UserError when the run lacks something that the queue asks for. */
export async function openExtraction(
  run: Run,
  fingerprint: string,
  { kind, settings }: Queue,
  files: readonly QueueFile[],
  onNotice?: (text: string) => void,
): Promise<QueueExtraction> {
  if (kind === "rows") return rowExtraction(run, settings);
  const entities = await openStoredEntities(settings, files, onNotice);
  const where = run.folder.directory;
  if (entities.fromModel && !run.mentions) {
    throw new UserError(`${where}: was not trained to find entities, which the queue asks for.`, {
      hint: "Train one with tasks: [relations, mentions] in the recipe.",
    });
  }
  const finder = entities.fromModel && run.mentions ? withModelMentions(entities, run.mentions) : entities.finder;
  const labels = settings.types === null ? run.labels : withTypes(run.labels, settings.types, "--types");
  const extraction = {
    ...{ window: settings.window, maxPairs: settings.maxPairs, minProbability: settings.minProbability, labels },
    thresholds: settings.precision === null ? null : thresholdsFor(run.calibration, settings.precision, where),
    ...{ maxCharacters: run.recipe.prompt.maxPromptTokens, windowItems: WINDOW_ITEMS, run: fingerprint },
  };
  return {
    async extract(tasks) {
      const documents = tasks.map(({ key, payload }) => ({ id: key, ...(JSON.parse(payload) as DocumentPayload) }));
      const found = new Map<string, string[]>(documents.map(({ id }) => [id, []]));
      const output = {
        ...{ done: [], part: "" },
        async add(text: string) {
          for (const line of text.split("\n")) {
            if (line !== "") found.get((JSON.parse(line) as { document: string }).document)?.push(`${line}\n`);
          }
        },
      };
      const counts = await extractDocuments(run.extractor, stream(documents), finder, output, extraction);
      return { lines: Array.from(found.values(), (lines) => lines.join("")), counts: { ...counts } };
    },
  };
}

function rowExtraction({ extractor }: Run, { minProbability }: QueueSettings): QueueExtraction {
  return {
    async extract(tasks) {
      const rows = tasks.map(({ payload }) => JSON.parse(payload) as RowPayload);
      const counts = emptyCounts();
      const lines: string[] = [];
      const source = Readable.from(rows.map(({ text }) => Buffer.from(`${text}\n`)));
      for await (const some of extractLines(extractor, source, counts, { minProbability })) lines.push(...some);
      return { lines: lines.map((line, i) => `${numbered(line, rows[i].line)}\n`), counts: { ...counts } };
    },
  };
}

/** An output row; of a bad one, with the number of its line in its own file. */
function numbered(line: string, number: number): string {
  return /^\{"line":\d+,"error":/.test(line) ? line.replace(/\d+/, String(number)) : line;
}

async function* stream(documents: readonly Document[]): AsyncGenerator<Document> {
  yield* documents;
}

async function openStoredEntities(
  settings: QueueSettings,
  files: readonly QueueFile[],
  onNotice?: (text: string) => void,
) {
  const folder = await mkdtemp(join(tmpdir(), "cre-queue-"));
  try {
    const sources: EntitySource[] = [];
    for (const source of settings.entities) {
      if (!("file" in source)) {
        sources.push(source);
        continue;
      }
      const { name, content } = files[source.file];
      // Its ending says what it is.
      const ending = /(?:\.[a-z0-9]{1,8}){0,2}$/i.exec(name)?.[0] ?? "";
      const file = join(folder, `${source.file}${ending}`);
      await writeFile(file, content);
      sources.push({ ...source, file } as EntitySource);
    }
    return await openEntities(sources, settings.overlap, onNotice);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
