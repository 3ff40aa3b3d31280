import { messageOf, nearestName, UserError } from "../base/errors.ts";
import { type Jobs, openJobs } from "./jobs.ts";
import { prepareTables } from "./schema.ts";
import { type Patience, patiently, type Sql, type Store } from "./sql.ts";
import { openStore } from "./store.ts";

/** What a queue holds: documents with entities to find, or rows of pairs. */
export type QueueKind = "documents" | "rows";

/** How a queue's documents are extracted: fixed when it is created, so that every worker does the same. */
export interface QueueSettings {
  /** Sources of entities as `--entities` names them; a file is the number of one in the store. */
  entities: StoredSource[];
  overlap: "longest" | "all";
  window: number;
  maxPairs: number;
  minProbability: number;
  precision: number | null;
  /** Text of `--types`; null for none. */
  types: string | null;
  /** Attempts of a batch's documents that a worker claims at once. */
  batch: number;
}

export type StoredSource =
  | { kind: "dictionary"; file: number }
  | { kind: "patterns"; file: number }
  | { kind: "column"; column: string; type: string | null }
  | { kind: "model" };

export interface Queue {
  name: string;
  kind: QueueKind;
  settings: QueueSettings;
  /** Fingerprint of the run that works on it; null before its first worker. */
  run: string | null;
}

/** A store with its tables and jobs. */
export interface OpenQueues {
  store: Store;
  jobs: Jobs;
  close(): Promise<void>;
}

export interface OpenQueuesOptions {
  /** Whether this process archives completed jobs now and then. */
  keepHouse?: boolean;
  /** How long a database that is away is waited for; default not at all. */
  patience?: Patience;
}

/** Opens a store and creates its tables where they are missing. Throws a UserError. */
export function openQueues(place: string, { patience, ...options }: OpenQueuesOptions = {}): Promise<OpenQueues> {
  const open = () => openOnce(place, options);
  return patience ? patiently(open, patience) : open();
}

async function openOnce(place: string, options: { keepHouse?: boolean }): Promise<OpenQueues> {
  const store = await openStore(place);
  let jobs: Jobs | null = null;
  try {
    await prepareTables(store);
    jobs = await openJobs(store, options);
    const opened = jobs;
    return {
      store,
      jobs: opened,
      async close() {
        await opened.close();
        await store.close();
      },
    };
  } catch (error) {
    await jobs?.close().catch(() => {});
    await store.close();
    if (error instanceof UserError) throw error;
    throw new UserError(`--store ${store.name}: its tables cannot be made (${messageOf(error)}).`, {
      hint: "The user needs the right to create schemas in this database.",
      cause: error,
    });
  }
}

const NAME = /^[\p{L}\p{N}][\p{L}\p{N}_-]{0,47}$/u;
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** A file that workers need. */
export interface QueueFile {
  name: string;
  content: Uint8Array;
}

/** Creates a queue. Throws a UserError for a name that exists or cannot be one. */
export async function createQueue(
  { store, jobs }: OpenQueues,
  queue: Omit<Queue, "run">,
  files: readonly QueueFile[],
): Promise<void> {
  const { name, kind, settings } = queue;
  if (!NAME.test(name)) {
    throw new UserError(`${name}: cannot be the name of a queue, expected up to 48 letters, digits, "-" and "_".`);
  }
  for (const file of files) {
    if (file.content.length <= MAX_FILE_BYTES) continue;
    throw new UserError(
      `${file.name}: has ${file.content.length} bytes, a queue keeps files of up to ${MAX_FILE_BYTES}.`,
    );
  }
  if ((await findQueues(store)).some((one) => one.name === name)) throw exists(name);
  // Job queues first: left over without a queue, they are made again by the next call.
  await jobs.create(name);
  try {
    await store.transaction(async (sql) => {
      await sql.query("insert into cre.queue (name, kind, settings) values ($1, $2, $3)", [
        ...[name, kind, JSON.stringify(settings)],
      ]);
      for (const [place, file] of files.entries()) {
        await sql.query("insert into cre.file values ($1, $2, $3, $4)", [name, place, file.name, file.content]);
      }
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "23505") throw exists(name);
    throw error;
  }
}

const exists = (name: string) =>
  new UserError(`The queue ${name} exists already.`, { hint: "Choose another name, or remove it: cre queue remove" });

/** All queues of a store by name. */
export async function findQueues(sql: Sql): Promise<Queue[]> {
  const rows = await sql.query<{ name: string; kind: QueueKind; settings: string; run: string | null }>(
    "select name, kind, settings, run from cre.queue order by created_at, name",
  );
  return rows.map(({ settings, ...queue }) => ({ ...queue, settings: JSON.parse(settings) as QueueSettings }));
}

/** A queue by its name; without a name the only one. Throws a UserError. */
export async function findQueue({ store }: OpenQueues, name: string | undefined): Promise<Queue> {
  const queues = await findQueues(store);
  const names = queues.map((queue) => queue.name);
  if (queues.length === 0) {
    throw new UserError(`${store.name} holds no queue.`, {
      hint: "Create one: cre queue create NAME --entities names.csv",
    });
  }
  if (name === undefined) {
    if (queues.length === 1) return queues[0];
    throw new UserError(`${store.name} holds several queues, expected the name of one: ${names.join(", ")}.`);
  }
  const found = queues.find((queue) => queue.name === name);
  if (found) return found;
  const nearest = nearestName(name, names);
  throw new UserError(
    `There is no queue ${name}${nearest ? `, did you mean ${nearest}?` : `, only ${names.join(", ")}.`}`,
  );
}

/** The files of a queue in their order. */
export async function queueFiles(sql: Sql, name: string): Promise<QueueFile[]> {
  const rows = await sql.query<QueueFile>("select name, content from cre.file where queue = $1 order by place", [name]);
  return rows.map((row) => ({ name: row.name, content: new Uint8Array(row.content) }));
}

/** Lets a run work on a queue. Throws a UserError when another run does. */
export async function claimForRun(sql: Sql, queue: Queue, run: string, shown: string): Promise<void> {
  await sql.query("update cre.queue set run = $2 where name = $1 and run is null", [queue.name, run]);
  const [row] = await sql.query<{ run: string }>("select run from cre.queue where name = $1", [queue.name]);
  if (row?.run === run) return;
  throw new UserError(`The queue ${queue.name} belongs to the run ${row?.run}, and ${shown} is ${run}.`, {
    hint: "Use the run that began it, or create another queue.",
  });
}

/** Removes a queue with its documents and results. Throws a UserError while a worker is at it. */
export async function removeQueue({ store, jobs }: OpenQueues, queue: Queue, leaseSeconds: number): Promise<void> {
  const [row] = await store.query<{ count: string }>(
    "select count(*) from cre.worker where queue = $1 and seen_at > now() - $2 * interval '1 second'",
    [queue.name, leaseSeconds],
  );
  if (Number(row.count) > 0) throw new UserError(`The queue ${queue.name} has ${row.count} workers, expected none.`);
  await store.query("delete from cre.queue where name = $1", [queue.name]);
  await jobs.remove(queue.name);
}
