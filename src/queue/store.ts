import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { holdLock } from "../base/lock.ts";
import type { Sql, Store } from "./sql.ts";

const ADDRESS = /^postgres(?:ql)?:\/\//;
const CONNECTIONS = 4;
const CONNECT_MS = 10_000;

/**
 * Opens the database of queues: the address of a PostgreSQL server ("postgres://user@host/database"), or a folder, which then holds an embedded
 * one that a single process uses at a time. Throws a UserError when it cannot be opened.
 */
export async function openStore(place: string): Promise<Store> {
  if (place === "") throw new UserError("--store: is empty, expected postgres://… or a folder.");
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(place) && !ADDRESS.test(place)) {
    throw new UserError(
      `--store ${withoutPassword(place)}: expected an address that begins with postgres://, or a folder.`,
    );
  }
  return ADDRESS.test(place) ? openPostgres(place) : openEmbedded(place);
}

async function openPostgres(address: string): Promise<Store> {
  const { default: pg } = await import("pg");
  const name = withoutPassword(address);
  let pool: import("pg").Pool;
  try {
    pool = new pg.Pool({
      connectionString: address,
      max: CONNECTIONS,
      connectionTimeoutMillis: CONNECT_MS,
      application_name: "cre",
    });
  } catch (error) {
    throw new UserError(`--store ${name}: is no address of PostgreSQL (${messageOf(error)}).`);
  }
  // An idle connection that breaks is no error: the next statement opens another one.
  pool.on("error", () => {});
  const ofClient = (client: Pick<import("pg").PoolClient, "query">): Sql => ({
    async query<Row>(text: string, values?: readonly unknown[]) {
      return lastRows<Row>(await client.query(text, values as unknown[] | undefined));
    },
  });
  const store: Store = {
    name,
    isShared: true,
    ...ofClient(pool as unknown as import("pg").PoolClient),
    async transaction(work) {
      const client = await pool.connect();
      let broken: Error | undefined;
      // A connection that ends between two statements tells so as an event.
      const onError = (error: Error) => {
        broken = error;
      };
      client.on("error", onError);
      try {
        await client.query("begin");
        const value = await work(ofClient(client));
        await client.query("commit");
        return value;
      } catch (error) {
        await client.query("rollback").catch((failure: Error) => {
          broken ??= failure;
        });
        throw error;
      } finally {
        client.off("error", onError);
        client.release(broken);
      }
    },
    close: () => pool.end(),
  };
  try {
    await store.query("select 1");
  } catch (error) {
    await pool.end();
    throw new UserError(`--store ${name}: cannot be used (${reasonOf(error)}).`, {
      hint: "Check that PostgreSQL runs there and that user and database exist: psql ADDRESS",
      cause: error,
    });
  }
  return store;
}

async function openEmbedded(folder: string): Promise<Store> {
  if (existsSync(folder) && !existsSync(join(folder, "PG_VERSION"))) {
    const { readdir } = await import("node:fs/promises");
    const names = await readdir(folder).catch((error) => {
      throw new UserError(`--store ${folder}: cannot be read as a folder (${messageOf(error)}).`);
    });
    if (names.length > 0)
      throw new UserError(`--store ${folder}: holds other files, expected a new folder or one of this command.`);
  }
  await mkdir(join(folder, ".."), { recursive: true });
  const release = await holdLock(`${folder.replace(/[/\\]+$/, "")}.lock`, folder);
  try {
    const { PGlite } = await import("@electric-sql/pglite");
    const database = await PGlite.create(folder);
    const ofDatabase = (one: Pick<typeof database, "query" | "exec">): Sql => ({
      async query<Row>(text: string, values?: readonly unknown[]) {
        // Only a call without parameters may hold several statements.
        if (values === undefined) return lastRows<Row>(await one.exec(text));
        return (await one.query<Row>(text, values as unknown[])).rows;
      },
    });
    return {
      name: folder,
      isShared: false,
      ...ofDatabase(database),
      transaction: (work) => database.transaction((one) => work(ofDatabase(one))),
      async close() {
        await database.close();
        await release();
      },
    };
  } catch (error) {
    await release();
    if (error instanceof UserError) throw error;
    throw new UserError(`--store ${folder}: cannot be opened as an embedded database (${messageOf(error)}).`, {
      cause: error,
    });
  }
}

/** The rows of the last of several statements. */
function lastRows<Row>(results: unknown): Row[] {
  const last = Array.isArray(results) ? results[results.length - 1] : results;
  return ((last as { rows?: Row[] } | undefined)?.rows ?? []) as Row[];
}

const withoutPassword = (address: string) => address.replace(/^([a-z+]+:\/\/[^/@:]*):[^@/]*@/i, "$1@");

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join("; ");
  return messageOf(error) || String((error as NodeJS.ErrnoException).code);
}
