import { type FailedDocument, failedDocuments, jobCounts } from "./jobs.ts";
import type { Queue } from "./queues.ts";
import type { Store } from "./sql.ts";

export interface WorkerStatus {
  host: string;
  pid: number;
  arithmetic: string;
  documents: number;
  /** Seconds since it was last heard of. */
  silentSeconds: number;
}

export interface QueueStatus {
  queue: string;
  kind: string;
  run: string | null;
  /** documents = waiting + active + done + failed + bad. */
  documents: number;
  waiting: number;
  active: number;
  done: number;
  failed: number;
  /** Documents that could not be read. */
  bad: number;
  /** Documents a second over the last minute of work; null when nothing was done in it. */
  rate: number | null;
  /** Seconds to the end at that rate. */
  left: number | null;
  workers: WorkerStatus[];
  failures: FailedDocument[];
}

const RATE_SECONDS = 60;
const MAX_FAILURES = 20;

/** What has become of a queue's documents, and who is at work. */
export async function statusOf(store: Store, queue: Queue, maxFailures = MAX_FAILURES): Promise<QueueStatus> {
  const { name } = queue;
  const [totals] = await store.query<{ documents: string; bad: string; done: string }>(
    `select count(*) as documents, count(d.bad) as bad, count(r.document) as done
     from cre.document d left join cre.result r on r.document = d.id where d.queue = $1`,
    [name],
  );
  const jobs = await jobCounts(store, name);
  const [recent] = await store.query<{ documents: string | null; seconds: string | null }>(
    `select sum(documents) as documents, extract(epoch from now() - min(finished_at - seconds * interval '1 second')) as seconds
     from cre.batch where queue = $1 and finished_at > now() - $2 * interval '1 second'`,
    [name, RATE_SECONDS],
  );
  const workers = await store.query<{
    host: string;
    pid: number;
    arithmetic: string;
    documents: string;
    silent: string;
  }>(
    `select host, pid, w.arithmetic, extract(epoch from now() - seen_at) as silent,
       (select coalesce(sum(b.documents), 0) from cre.batch b where b.worker = w.id) as documents
     from cre.worker w where queue = $1 order by started_at`,
    [name],
  );
  const rate = recent?.documents == null ? null : Number(recent.documents) / Math.max(1, Number(recent.seconds));
  return {
    queue: name,
    kind: queue.kind,
    run: queue.run,
    documents: Number(totals.documents),
    ...jobs,
    done: Number(totals.done),
    bad: Number(totals.bad),
    rate,
    left: rate === null ? null : (jobs.waiting + jobs.active) / rate,
    workers: workers.map(({ host, pid, arithmetic, documents, silent }) => ({
      ...{ host, pid, arithmetic, documents: Number(documents), silentSeconds: Math.max(0, Number(silent)) },
    })),
    failures: jobs.failed > 0 ? await failedDocuments(store, name, maxFailures) : [],
  };
}
