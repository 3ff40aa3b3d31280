import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A PostgreSQL server of a test, on a port of this machine, with its data in a temporary folder. */
export interface PostgresServer {
  address: string;
  start(): Promise<void>;
  /** Ends all connections at once, as a restart of the machine would. */
  stop(): void;
  remove(): void;
}

/** Folder of PostgreSQL's programs; null where it is not installed. */
export function findPostgres(): string | null {
  const folders: string[] = [];
  const root = "/usr/lib/postgresql";
  if (existsSync(root)) folders.push(...readdirSync(root).map((version) => join(root, version, "bin")));
  folders.push(...(process.env.PATH ?? "").split(":"));
  return folders.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "postgres"))) ?? null;
}

/** Why tests of PostgreSQL are skipped; null when they run. */
export function noPostgres(): string | null {
  if (findPostgres() === null) return "PostgreSQL is not installed";
  if (userInfo().uid === 0 && spawnSync("id", ["postgres"]).status !== 0)
    return "root cannot run PostgreSQL, no user postgres";
  return null;
}

/** Makes a server with an empty database. */
export async function makePostgres(): Promise<PostgresServer> {
  const programs = findPostgres() as string;
  const folder = mkdtempSync(join(tmpdir(), "cre-postgres-"));
  const isRoot = userInfo().uid === 0;
  // PostgreSQL refuses to run as root.
  const asUser = (command: string[]) =>
    isRoot ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", ...command] : command;
  if (isRoot) {
    const id = (flag: string) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
    chownSync(folder, id("-u"), id("-g"));
  }
  const data = join(folder, "data");
  const run = (program: string, ...options: string[]) => {
    const [command, ...more] = asUser([join(programs, program), ...options]);
    const { status, stderr } = spawnSync(command, more, { encoding: "utf8", cwd: folder });
    if (status !== 0) throw new Error(`${program}: ${stderr}`);
  };
  run("initdb", "-D", data, "-U", "cre", "-A", "trust", "-E", "UTF8", "--locale=C");
  const port = await freePort();
  let server: ReturnType<typeof spawn> | null = null;
  const made: PostgresServer = {
    address: `postgres://cre@127.0.0.1:${port}/postgres`,
    async start() {
      const [command, ...more] = asUser([
        ...[join(programs, "postgres"), "-D", data, "-p", String(port), "-k", folder],
        ...["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"],
      ]);
      server = spawn(command, more, { cwd: folder, stdio: "ignore" });
      for (let i = 0; i < 300; i++) {
        if (spawnSync(join(programs, "pg_isready"), ["-h", "127.0.0.1", "-p", String(port)]).status === 0) return;
        await sleep(100);
      }
      throw new Error("PostgreSQL did not start");
    },
    stop() {
      if (server) run("pg_ctl", "stop", "-D", data, "-m", "immediate", "-w");
      server = null;
    },
    remove() {
      made.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return made;
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}
