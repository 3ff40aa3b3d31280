import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { messageOf } from "../base/errors.ts";
import type { BatchResult, QueueExtraction, Task } from "./extraction.ts";
import { type Claimed, jobCounts } from "./jobs.ts";
import type { OpenQueues, Queue } from "./queues.ts";
import { patiently, pause, type Sql } from "./sql.ts";

export interface WorkOptions {
  /** Documents that are claimed at a time. */
  batch: number;
  /** Seconds after which a worker that was not heard of is taken for lost. */
  leaseSeconds: number;
  /** Ends when no document waits and none is in work. */
  untilEmpty: boolean;
  /** Seconds that the database may be away. */
  patienceSeconds: number;
  arithmetic: string;
  onProgress?: (counts: Readonly<WorkCounts>) => void;
  onNotice?: (text: string) => void;
  /** Ends the work after the batch in progress. */
  signal?: AbortSignal;
}

export interface WorkCounts {
  documents: number;
  batches: number;
  /** Batches whose result did not count, since other workers had got their documents. */
  dropped: number;
  /** Batches that failed. */
  failed: number;
  /** Documents of lost workers that this one put back. */
  recovered: number;
}

/** Seconds after which a silent worker is taken for lost, unless told. */
export const LEASE_SECONDS = 60;
const IDLE_MS = 1000;

/**
 * Works on a queue: claims documents, extracts them, and commits their results and that they are done in one transaction, so that each counts
 * once whatever ends when. A process tells several times in a lease that it lives; documents of one that is silent for a lease are put back by the others.
 */
export async function work(
  queues: OpenQueues,
  queue: Queue,
  extraction: QueueExtraction,
  options: WorkOptions,
): Promise<WorkCounts> {
  const { signal, leaseSeconds } = options;
  const { store } = queues;
  const counts: WorkCounts = { documents: 0, batches: 0, dropped: 0, failed: 0, recovered: 0 };
  const id = randomUUID();
  /** Batches of this worker whose commits it knows of. */
  let kept = 0;
  let isAwayTold = false;
  const again = async <Value>(act: () => Promise<Value>) => {
    const value = await patiently(act, {
      limitMs: 1000 * options.patienceSeconds,
      onAway(error) {
        if (!isAwayTold) options.onNotice?.(`the database is away (${messageOf(error)}); trying again`);
        isAwayTold = true;
      },
    });
    if (isAwayTold) options.onNotice?.("the database is back");
    isAwayTold = false;
    return value;
  };
  const enrol = (sql: Sql) =>
    sql.query(
      `insert into cre.worker (id, queue, host, pid, arithmetic) values ($1, $2, $3, $4, $5)
       on conflict (id) do update set seen_at = now()`,
      [id, queue.name, hostname(), process.pid, options.arithmetic],
    );
  await again(() => enrol(store));
  const ends = new AbortController();
  const heart = (async () => {
    while (!ends.signal.aborted) {
      await pause((1000 * leaseSeconds) / 5, ends.signal);
      if (ends.signal.aborted) return;
      // A database that is away is told of where work waits for it.
      await enrol(store).catch(() => {});
      counts.recovered += await recover(queues, queue, leaseSeconds).catch(() => 0);
    }
  })();
  try {
    counts.recovered += await again(() => recover(queues, queue, leaseSeconds));
    while (!signal?.aborted) {
      const claimed = await again(() => claim(queues, queue, id, options.batch));
      if (claimed.length === 0) {
        if (options.untilEmpty && (await again(() => isEmpty(store, queue)))) break;
        await pause(IDLE_MS * (0.5 + Math.random()), signal);
        continue;
      }
      const tasks = await again(() => tasksOf(store, claimed));
      const started = performance.now();
      let result: BatchResult;
      try {
        result = await extraction.extract(tasks);
      } catch (error) {
        counts.failed++;
        const reason = messageOf(error);
        options.onNotice?.(`${tasks.length === 1 ? tasks[0].key : `${tasks.length} documents`}: ${reason}`);
        await again(() => giveBack(queues, queue, id, claimed, reason));
        continue;
      }
      const seconds = (performance.now() - started) / 1000;
      const batch = { claimed, tasks, result, seconds, arithmetic: options.arithmetic };
      const isKept = await again(() => commit(queues, queue, id, batch, kept));
      counts.batches++;
      if (isKept) {
        counts.documents += tasks.length;
        kept++;
      } else counts.dropped++;
      options.onProgress?.(counts);
    }
    return counts;
  } finally {
    ends.abort();
    await heart;
    await leave(queues, queue, id).catch(() => {});
  }
}

/** Claims documents for a worker; those of a claim whose answer got lost on the way come first. */
function claim({ store, jobs }: OpenQueues, queue: Queue, worker: string, count: number): Promise<Claimed[]> {
  return store.transaction(async (sql) => {
    const earlier = await ownedBy(sql, worker);
    if (earlier.length > 0) return earlier;
    const claimed = await jobs.claim(queue.name, count, sql);
    if (claimed.length > 0) {
      await sql.query(
        `insert into cre.claim (job, document, jobs, worker)
         select job, document, jobs, $4 from unnest($1::uuid[], $2::bigint[], $3::text[]) as t(job, document, jobs)`,
        [claimed.map((one) => one.id), claimed.map((one) => one.document), claimed.map((one) => one.queue), worker],
      );
    }
    return claimed;
  });
}

const asClaimed = (rows: { job: string; document: string; jobs: string }[]): Claimed[] =>
  rows.map(({ job, document, jobs }) => ({ id: job, queue: jobs, document: String(document) }));

async function ownedBy(sql: Sql, worker: string): Promise<Claimed[]> {
  return asClaimed(
    await sql.query("select job, document, jobs from cre.claim where worker = $1 order by document", [worker]),
  );
}

/** Ends claims of a worker; returns those that it still had. */
async function endClaims(sql: Sql, worker: string, claimed: readonly Claimed[]): Promise<Claimed[]> {
  const ids = claimed.map(({ id }) => id);
  return asClaimed(
    await sql.query("delete from cre.claim where worker = $1 and job = any($2::uuid[]) returning job, document, jobs", [
      ...[worker, ids],
    ]),
  );
}

async function tasksOf(sql: Sql, claimed: readonly Claimed[]): Promise<Task[]> {
  const ids = claimed.map(({ document }) => document);
  const rows = await sql.query<{ id: string; key: string; payload: string }>(
    "select id, key, payload from cre.document where id = any($1::bigint[]) order by id",
    [ids],
  );
  return rows.map(({ id, key, payload }) => ({ document: String(id), key, payload }));
}

interface Batch {
  claimed: readonly Claimed[];
  tasks: readonly Task[];
  result: BatchResult;
  seconds: number;
  arithmetic: string;
}

/** Results and "done" in one transaction. False, and nothing changed, when some documents were taken from the worker. */
async function commit(
  { store, jobs }: OpenQueues,
  queue: Queue,
  worker: string,
  batch: Batch,
  kept: number,
): Promise<boolean> {
  const { claimed, tasks, result } = batch;
  return store.transaction(async (sql) => {
    const owned = await endClaims(sql, worker, claimed);
    if (owned.length < claimed.length) {
      const [done] = await sql.query<{ count: string }>("select count(*) from cre.batch where worker = $1", [worker]);
      // The answer to an earlier commit of this very batch got lost.
      if (owned.length === 0 && Number(done.count) > kept) return true;
      await jobs.lose(queue.name, owned, "its worker was too slow", sql);
      return false;
    }
    await sql.query("insert into cre.result (document, lines) select * from unnest($1::bigint[], $2::text[])", [
      tasks.map(({ document }) => document),
      result.lines,
    ]);
    await jobs.complete(claimed, sql);
    await sql.query(
      "insert into cre.batch (queue, worker, arithmetic, documents, counts, seconds) values ($1, $2, $3, $4, $5, $6)",
      [queue.name, worker, batch.arithmetic, tasks.length, JSON.stringify(result.counts), batch.seconds],
    );
    return true;
  });
}

function giveBack(
  { store, jobs }: OpenQueues,
  queue: Queue,
  worker: string,
  claimed: readonly Claimed[],
  reason: string,
) {
  return store.transaction(async (sql) => {
    await jobs.lose(queue.name, await endClaims(sql, worker, claimed), reason, sql);
  });
}

/** Puts back the documents of workers that were silent for a lease. Returns their number. */
async function recover({ store, jobs }: OpenQueues, queue: Queue, leaseSeconds: number): Promise<number> {
  return store.transaction(async (sql) => {
    const gone = await sql.query<{ id: string; host: string; pid: number }>(
      `delete from cre.worker where id in (select id from cre.worker
         where queue = $1 and seen_at < now() - $2 * interval '1 second' for update skip locked)
       returning id, host, pid`,
      [queue.name, leaseSeconds],
    );
    let count = 0;
    for (const { id, host, pid } of gone) {
      const owned = await endClaims(sql, id, await ownedBy(sql, id));
      await jobs.lose(queue.name, owned, `the worker ${pid} on ${host} ended while it read this document`, sql);
      count += owned.length;
    }
    return count;
  });
}

async function leave({ store, jobs }: OpenQueues, queue: Queue, worker: string): Promise<void> {
  await store.transaction(async (sql) => {
    await jobs.lose(
      queue.name,
      await endClaims(sql, worker, await ownedBy(sql, worker)),
      "its worker was stopped",
      sql,
    );
    await sql.query("delete from cre.worker where id = $1", [worker]);
  });
}

async function isEmpty(sql: Sql, queue: Queue): Promise<boolean> {
  const { waiting, active } = await jobCounts(sql, queue.name);
  return waiting + active === 0;
}
