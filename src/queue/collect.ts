import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { UserError } from "../base/errors.ts";
import type { Mention } from "../documents/mention.ts";
import { emptyDocumentCounts } from "../extract/document-corpus.ts";
import type { Triple } from "../extract/triples.ts";
import { openUnfinished } from "../extract/unfinished.ts";
import { outputFiles } from "../graph/output-files.ts";
import { PAGE_LIMITS, type PageCollector, pageCollector } from "../graph/page/data.ts";
import { type GraphCounts, type GraphFormat, removeLeftovers, TRIPLES_FILE, writeGraph } from "../graph/write.ts";
import type { DocumentPayload } from "./extraction.ts";
import { failedDocuments } from "./jobs.ts";
import type { OpenQueues, Queue } from "./queues.ts";
import type { Sql } from "./sql.ts";
import { type QueueStatus, statusOf } from "./status.ts";

export interface CollectOptions {
  formats: readonly GraphFormat[];
  /** Whether to collect what is there while documents are missing. */
  partial: boolean;
  onProgress?: (documents: number, total: number) => void;
}

export interface Collected {
  status: QueueStatus;
  /** Of documents; null for rows. */
  graph: GraphCounts | null;
  /** Sums over all batches. */
  counts: Record<string, number>;
}

const PAGE = 1000;
const BAD_DOCUMENTS_FILE = "bad-documents.jsonl";

interface StoredResult {
  id: string;
  key: string;
  lines: string | null;
  bad: string | null;
}

/** A queue's documents with their results, in the order in which they were added. */
async function* resultsOf(sql: Sql, queue: string): AsyncGenerator<StoredResult> {
  for (let last = "0"; ; ) {
    const rows = await sql.query<StoredResult>(
      `select d.id, d.key, r.lines, d.bad from cre.document d left join cre.result r on r.document = d.id
       where d.queue = $1 and d.id > $2 order by d.id limit $3`,
      [queue, last, PAGE],
    );
    yield* rows;
    if (rows.length < PAGE) return;
    last = String(rows[rows.length - 1].id);
  }
}

/** Writes the results of a queue in order: for rows a file, for documents a folder with the graph. Throws a UserError. */
export async function collectQueue(
  { store }: OpenQueues,
  queue: Queue,
  output: string,
  options: CollectOptions,
): Promise<Collected> {
  const status = await statusOf(store, queue);
  const missing = status.waiting + status.active + status.failed;
  if (missing > 0 && !options.partial) {
    const parts = [`${status.waiting} wait`, `${status.active} are in work`, `${status.failed} failed`];
    throw new UserError(`The queue ${queue.name} is not done: of ${status.documents} documents ${parts.join(", ")}.`, {
      hint: "Let workers finish it, or collect what is there with --partial.",
    });
  }
  if (status.done === 0) throw new UserError(`The queue ${queue.name} has no results yet.`);
  const counts = await batchSums(store, queue.name);
  const collected = { status, counts };
  const job = createHash("sha256").update(`${queue.name} ${queue.run}`).digest("hex");
  if (queue.kind === "rows") {
    await collectInto(store, queue, resolve(output), output, job, options, status, async () => {});
    return { ...collected, graph: null };
  }
  let graph: GraphCounts | null = null;
  const collector = options.formats.includes("html") ? pageCollector() : null;
  const onResult = collector && textsFor(store, collector);
  const path = resolve(output, TRIPLES_FILE);
  const shown = join(output, TRIPLES_FILE);
  await collectInto(store, queue, path, shown, job, { ...options, onResult }, status, async (bad) => {
    await removeLeftovers(output);
    const files = outputFiles(output);
    try {
      if (bad.length > 0) {
        const file = await files.file(BAD_DOCUMENTS_FILE);
        for (const one of bad) file.write(`${JSON.stringify(one)}\n`);
        await file.flush();
      }
      const failed = await failedDocuments(store, queue.name, status.failed);
      const { resumed: _, ...usual } = emptyDocumentCounts();
      const documents = { ...usual, ...counts, badDocuments: status.bad };
      const summary = { settings: queue.settings, documents, failed, missing };
      const run = queue.run ?? "";
      const { minProbability } = queue.settings;
      const facts = { run, documents: status.done, badDocuments: status.bad, minProbability };
      const page = collector && { collector, facts };
      graph = await writeGraph(`${path}.part`, files, output, { formats: options.formats, run, page, summary });
    } catch (error) {
      await files.discard();
      throw error;
    }
  });
  return { ...collected, graph };
}

type OnResult = (document: string, key: string, lines: string) => Promise<void>;

/**
 * Gives a page the texts of the first documents with triples, with the mentions that are in triples: workers keep no others. The texts are read one
 * by one, since a page holds few.
 */
function textsFor(sql: Sql, collector: PageCollector): OnResult {
  let left = 2 * PAGE_LIMITS.texts;
  return async (document, key, lines) => {
    if (left === 0 || lines === "") return;
    left--;
    const [row] = await sql.query<{ payload: string }>("select payload from cre.document where id = $1", [document]);
    const { text, fields } = JSON.parse(row.payload) as DocumentPayload;
    const triples = lines.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Triple]));
    const mentions = new Map<string, Mention>();
    for (const { startUtf16: start, endUtf16: end, id, type, name } of triples.flatMap(({ head, tail }) => [
      head,
      tail,
    ])) {
      mentions.set(`${start} ${end} ${id}`, { start, end, id, type, name });
    }
    const ordered = [...mentions.values()].sort((a, b) => a.start - b.start || a.end - b.end);
    collector.addDocument({ id: key, text, fields }, ordered);
  };
}

async function collectInto(
  sql: Sql,
  queue: Queue,
  path: string,
  shown: string,
  job: string,
  options: CollectOptions & { onResult?: OnResult | null },
  status: QueueStatus,
  finish: (bad: { id: string; reason: string }[]) => Promise<void>,
): Promise<void> {
  let unfinished = await openUnfinished(path, shown, job, PAGE);
  if (unfinished.done.length > 0) {
    // It is quickly written again, and results may have been added.
    await unfinished.discard();
    await unfinished.close();
    unfinished = await openUnfinished(path, shown, job, PAGE);
  }
  const bad: { id: string; reason: string }[] = [];
  try {
    let documents = 0;
    let lines: string[] = [];
    const flush = async () => {
      const usual = { extracted: documents, bad: bad.length, truncated: 0, unparsed: 0, unknownLabels: 0 };
      await unfinished.add(lines.join(""), { rows: lines.length, input: "", counts: usual });
      lines = [];
      options.onProgress?.(documents, status.documents);
    };
    for await (const { id, key, lines: own, bad: reason } of resultsOf(sql, queue.name)) {
      documents++;
      if (own !== null) await options.onResult?.(id, key, own);
      if (reason !== null) bad.push({ id: key, reason });
      if (own !== null) lines.push(own);
      else if (reason !== null && queue.kind === "rows") lines.push(badRow(key, reason));
      if (lines.length >= PAGE) await flush();
    }
    await flush();
    await finish(bad);
    await unfinished.finish();
  } finally {
    await unfinished.close();
  }
}

/** A row that could not be read, as `cre extract` writes it; its line is the end of its name. */
function badRow(key: string, error: string): string {
  return `${JSON.stringify({ line: Number(/\d+$/.exec(key)?.[0]), error })}\n`;
}

async function batchSums(sql: Sql, queue: string): Promise<Record<string, number>> {
  const rows = await sql.query<{ key: string; sum: string }>(
    `select c.key, sum(c.value::numeric) as sum from cre.batch b, json_each_text(b.counts::json) c
     where b.queue = $1 group by c.key order by c.key`,
    [queue],
  );
  return Object.fromEntries(rows.map(({ key, sum }) => [key, Number(sum)]));
}
