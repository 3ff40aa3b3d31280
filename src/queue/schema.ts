import { UserError } from "../base/errors.ts";
import type { Store } from "./sql.ts";

/** Version of the tables below; another one is refused. */
const VERSION = 1;

/** Of the lock that lets one process at a time create tables. */
const LOCK = 7_260_111;

// JSON is kept as text, since the type jsonb refuses the character U+0000, which documents may have.
const TABLES = `
create schema if not exists cre;
create table if not exists cre.version (version int primary key);
create table if not exists cre.queue (
  name text primary key,
  kind text not null,
  settings text not null,
  run text,
  created_at timestamptz not null default now());
create table if not exists cre.file (
  queue text not null references cre.queue on delete cascade,
  place int not null,
  name text not null,
  content bytea not null,
  primary key (queue, place));
create table if not exists cre.document (
  id bigint generated always as identity primary key,
  queue text not null references cre.queue on delete cascade,
  key text not null,
  sha256 text not null,
  payload text,
  bad text,
  unique (queue, key));
create index if not exists document_order on cre.document (queue, id);
create table if not exists cre.result (
  document bigint primary key references cre.document on delete cascade,
  lines text not null);
create table if not exists cre.worker (
  id uuid primary key,
  queue text not null references cre.queue on delete cascade,
  host text not null,
  pid int not null,
  arithmetic text not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now());
create table if not exists cre.claim (
  job uuid primary key,
  document bigint not null references cre.document on delete cascade,
  jobs text not null,
  worker uuid not null);
create index if not exists claim_worker on cre.claim (worker);
create table if not exists cre.batch (
  id bigint generated always as identity primary key,
  queue text not null references cre.queue on delete cascade,
  worker uuid not null,
  arithmetic text not null,
  documents int not null,
  counts text not null,
  seconds real not null,
  finished_at timestamptz not null default now());
create index if not exists batch_time on cre.batch (queue, finished_at);
`;

/** Creates the tables where they are missing. Throws a UserError for those of another version of this program. */
export async function prepareTables(store: Store): Promise<void> {
  await store.transaction(async (sql) => {
    await sql.query("select pg_advisory_xact_lock($1)", [LOCK]);
    await sql.query(TABLES);
    const [row] = await sql.query<{ version: number }>("select version from cre.version");
    if (row === undefined) await sql.query("insert into cre.version values ($1)", [VERSION]);
    else if (row.version !== VERSION) {
      throw new UserError(`${store.name}: holds queues of version ${row.version}, expected ${VERSION}.`, {
        hint: "Use the version of cre-llm that made them, or another database.",
      });
    }
  });
}
