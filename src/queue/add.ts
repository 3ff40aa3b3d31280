import { createHash } from "node:crypto";
import { UserError } from "../base/errors.ts";
import { jobCounts } from "./jobs.ts";
import type { OpenQueues, Queue } from "./queues.ts";
import { pause } from "./sql.ts";

/** A document to add: its name, unique in the queue, and JSON text of what a worker gets; or why it cannot be read. */
export type Addition = { key: string; payload: string } | { key: string; bad: string };

export interface AddCounts {
  added: number;
  /** In the queue already, with the same content: an interrupted call is repeated. */
  known: number;
  bad: number;
}

export interface AddOptions {
  /** Waits while at least this number of documents waits. */
  maxWaiting: number;
  onProgress?: (counts: Readonly<AddCounts>, waiting: boolean) => void;
  signal?: AbortSignal;
}

const TRANSACTION_DOCUMENTS = 500;
const TRANSACTION_UNITS = 8_000_000;
const WAIT_MS = 1000;

/**
 * Adds documents to a queue in their order. Repeated after an interruption it adds the ones that are missing. Throws a UserError for a document
 * that is there with another content.
 */
export async function addDocuments(
  queues: OpenQueues,
  queue: Queue,
  additions: AsyncIterable<Addition>,
  options: AddOptions,
): Promise<AddCounts> {
  const counts: AddCounts = { added: 0, known: 0, bad: 0 };
  let part: Addition[] = [];
  let units = 0;
  const send = async () => {
    if (part.length === 0) return;
    await roomFor(queues, queue, counts, options);
    await addPart(queues, queue, part, counts);
    part = [];
    units = 0;
    options.onProgress?.(counts, false);
  };
  for await (const addition of additions) {
    options.signal?.throwIfAborted();
    part.push(addition);
    units += "payload" in addition ? addition.payload.length : 0;
    if (part.length >= TRANSACTION_DOCUMENTS || units >= TRANSACTION_UNITS) await send();
  }
  await send();
  return counts;
}

async function roomFor({ store }: OpenQueues, queue: Queue, counts: AddCounts, options: AddOptions): Promise<void> {
  if (!Number.isFinite(options.maxWaiting)) return;
  while ((await jobCounts(store, queue.name)).waiting >= options.maxWaiting) {
    options.onProgress?.(counts, true);
    await pause(WAIT_MS, options.signal);
    options.signal?.throwIfAborted();
  }
}

interface Stored {
  id: string;
  key: string;
  sha256: string;
}

async function addPart({ store, jobs }: OpenQueues, queue: Queue, part: readonly Addition[], counts: AddCounts) {
  const rows = part.map((addition) => {
    const payload = "payload" in addition ? addition.payload : null;
    const bad = "bad" in addition ? printableText(addition.bad) : null;
    const sha256 = createHash("sha256")
      .update(JSON.stringify([payload, bad]))
      .digest("hex");
    return { key: printableText(addition.key), sha256, payload, bad };
  });
  const column = (name: keyof (typeof rows)[number]) => rows.map((row) => row[name]);
  const isBad = new Map(rows.map(({ key, bad }) => [key, bad !== null]));
  await store.transaction(async (sql) => {
    const added = await sql.query<Stored>(
      `insert into cre.document (queue, key, sha256, payload, bad)
       select $1, key, sha256, payload, bad
       from unnest($2::text[], $3::text[], $4::text[], $5::text[]) with ordinality as t(key, sha256, payload, bad, place)
       order by place on conflict (queue, key) do nothing returning id, key, sha256`,
      [queue.name, column("key"), column("sha256"), column("payload"), column("bad")],
    );
    const good = added.filter(({ key }) => !isBad.get(key)).map(({ id }) => String(id));
    await jobs.add(queue.name, good, sql);
    if (added.length < rows.length) {
      const stored = await sql.query<Stored>(
        "select id, key, sha256 from cre.document where queue = $1 and key = any($2)",
        [...[queue.name, column("key")]],
      );
      const sums = new Map(stored.map(({ key, sha256 }) => [key, sha256]));
      const changed = rows.find(({ key, sha256 }) => sums.get(key) !== sha256);
      if (changed) {
        throw new UserError(`${changed.key}: is in the queue ${queue.name} with another content.`, {
          hint: "Add changed documents under another name or to another queue.",
        });
      }
    }
    counts.added += good.length;
    counts.bad += added.length - good.length;
    counts.known += rows.length - added.length;
  });
}

/** PostgreSQL's text has no U+0000. */
const printableText = (text: string) => text.replaceAll("\0", "\\u0000");
