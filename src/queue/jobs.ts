import type PgBoss from "pg-boss";
import type { Sql, Store } from "./sql.ts";

// Jobs are pg-boss's: one a document. A queue has three of its job queues. "NAME" holds documents that are claimed many at a time. When a
// worker is lost with a batch, its documents go to "NAME.alone", where they are claimed one by one, so that the document that ends workers is
// told from its neighbours. What fails there too often is pg-boss's dead letter in "NAME.failed".

export interface Jobs {
  create(name: string): Promise<void>;
  remove(name: string): Promise<void>;
  add(name: string, documents: readonly string[], sql: Sql): Promise<void>;
  /** Claims up to `count` documents, or a single one that was lost before. */
  claim(name: string, count: number, sql: Sql): Promise<Claimed[]>;
  complete(jobs: readonly Claimed[], sql: Sql): Promise<void>;
  /** Documents whose worker is gone or failed: to be claimed alone, or, when they were, again a few times. */
  lose(name: string, jobs: readonly Claimed[], reason: string, sql: Sql): Promise<void>;
  /** Puts failed documents back. Returns their number. */
  retryFailed(name: string, sql: Sql): Promise<number>;
  close(): Promise<void>;
}

export interface Claimed {
  id: string;
  /** The pg-boss queue that it is in. */
  queue: string;
  document: string;
}

const SCHEMA = "cre_jobs";
/** A document that was lost alone is tried again this number of times. */
const RETRIES = 3;
/** Leases are ours (cre.worker); pg-boss only needs a limit. */
const EXPIRE_HOURS = 23;
const KEEP_DAYS = 3650;

export const jobQueues = (name: string) => ({ many: name, alone: `${name}.alone`, failed: `${name}.failed` });

/** Opens the jobs of a store; `keepHouse` lets this process archive completed ones now and then, which a shared store needs. */
export async function openJobs(store: Store, { keepHouse = false } = {}): Promise<Jobs> {
  const { default: Boss } = (await import("pg-boss")) as { default: typeof PgBoss };
  const boss = new Boss({
    db: asDb(store),
    schema: SCHEMA,
    schedule: false,
    supervise: keepHouse && store.isShared,
    archiveCompletedAfterSeconds: 3600,
    deleteAfterDays: 1,
  });
  boss.on("error", () => {}); // of its housekeeping; what matters fails where it is asked for
  await boss.start();
  const keep = { expireInHours: EXPIRE_HOURS, retentionDays: KEEP_DAYS };
  // Its types lack what its functions take: several ids and a database of one call.
  const end = boss as unknown as Record<
    "complete" | "fail",
    (queue: string, ids: readonly string[], data: object | undefined, options: object) => Promise<unknown>
  >;
  const jobsOf = (queue: string, documents: readonly string[]) =>
    documents.map((document) => ({ name: queue, data: { document } }));
  const fetch = async (queue: string, batchSize: number, sql: Sql): Promise<Claimed[]> => {
    let failure: unknown = null;
    const db = {
      // pg-boss takes a failed statement for an empty queue.
      executeSql: (text: string, values?: unknown[]) =>
        asDb(sql)
          .executeSql(text, values)
          .catch((error) => {
            failure = error;
            throw error;
          }),
    };
    const found = await boss.fetch<{ document: string }>(queue, { batchSize, priority: false, db } as object);
    if (failure !== null) throw failure;
    return found.map(({ id, data }) => ({ id, queue, document: data.document }));
  };
  return {
    async create(name) {
      const { many, alone, failed } = jobQueues(name);
      await boss.createQueue(failed, { name: failed, ...keep });
      await boss.createQueue(many, { name: many, retryLimit: 0, ...keep });
      await boss.createQueue(alone, { name: alone, retryLimit: RETRIES, retryDelay: 0, deadLetter: failed, ...keep });
    },
    async remove(name) {
      const { many, alone, failed } = jobQueues(name);
      // pg-boss deletes a queue only when it is empty; the dead letters' queue last, since the others refer to it.
      await store.query(`delete from ${SCHEMA}.job where name = any($1)`, [[many, alone, failed]]);
      for (const queue of [many, alone, failed]) await boss.deleteQueue(queue);
    },
    async add(name, documents, sql) {
      if (documents.length > 0) await boss.insert(jobsOf(name, documents), { db: asDb(sql) } as object);
    },
    async claim(name, count, sql) {
      const alone = await fetch(jobQueues(name).alone, 1, sql);
      return alone.length > 0 ? alone : fetch(name, count, sql);
    },
    async complete(jobs, sql) {
      for (const [queue, ids] of byQueue(jobs)) await end.complete(queue, ids, undefined, { db: asDb(sql) });
    },
    async lose(name, jobs, reason, sql) {
      const { many, alone } = jobQueues(name);
      for (const [queue, ids] of byQueue(jobs)) {
        if (queue === many) {
          await end.complete(queue, ids, undefined, { db: asDb(sql) });
          const documents = jobs.filter((job) => job.queue === many).map(({ document }) => document);
          await boss.insert(jobsOf(alone, documents), { db: asDb(sql) } as object);
        } else await end.fail(queue, ids, { message: reason }, { db: asDb(sql) });
      }
    },
    async retryFailed(name, sql) {
      const { alone, failed } = jobQueues(name);
      let count = 0;
      for (;;) {
        const jobs = await fetch(failed, 500, sql);
        if (jobs.length === 0) return count;
        const documents = jobs.map(({ document }) => document);
        await end.complete(
          failed,
          jobs.map(({ id }) => id),
          undefined,
          { db: asDb(sql) },
        );
        await boss.insert(jobsOf(alone, documents), { db: asDb(sql) } as object);
        count += jobs.length;
      }
    },
    close: () => boss.stop({ graceful: false, close: false }),
  };
}

function byQueue(jobs: readonly Claimed[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const { id, queue } of jobs) groups.set(queue, [...(groups.get(queue) ?? []), id]);
  return groups;
}

/** What pg-boss calls a database. */
function asDb(sql: Sql) {
  return {
    async executeSql(text: string, values?: unknown[]) {
      return { rows: await sql.query<never>(text, values) };
    },
  };
}

/** Documents of a queue by what became of them, from the tables of pg-boss. */
export async function jobCounts(sql: Sql, name: string): Promise<{ waiting: number; active: number; failed: number }> {
  const { many, alone, failed } = jobQueues(name);
  const rows = await sql.query<{ name: string; state: string; count: string }>(
    `select name, state::text, count(*) from ${SCHEMA}.job
     where name = any($1) and state in ('created', 'retry', 'active') group by 1, 2`,
    [[many, alone, failed]],
  );
  const counts = { waiting: 0, active: 0, failed: 0 };
  for (const row of rows) {
    counts[row.name === failed ? "failed" : row.state === "active" ? "active" : "waiting"] += Number(row.count);
  }
  return counts;
}

export interface FailedDocument {
  key: string;
  reason: string;
}

/** The documents that were given up, with the last reason. */
export async function failedDocuments(sql: Sql, name: string, limit: number): Promise<FailedDocument[]> {
  const rows = await sql.query<{ key: string; output: string | null }>(
    `select d.key, j.output::text as output from ${SCHEMA}.job j
     join cre.document d on d.id = (j.data->>'document')::bigint
     where j.name = $1 and j.state < 'active' order by d.id limit $2`,
    [jobQueues(name).failed, limit],
  );
  return rows.map(({ key, output }) => ({
    key,
    reason: output === null ? "unknown" : ((JSON.parse(output) as { message?: string }).message ?? output),
  }));
}
