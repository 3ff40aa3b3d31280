import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { makePostgres, noPostgres, type PostgresServer } from "../postgres/server.ts";
import { type CreOptions, cre, jsonl, temporaryFolder, toyRows } from "./support.ts";

// A corpus by several workers over one database gives what a single process gives.

const temporary = temporaryFolder("queue");
const file = (name: string) => join(temporary.path, name);
const BEST: CreOptions = { env: { CRE_BACKEND: "" } };
const COMPANIES = ["远山", "近水", "东风", "西岭", "南湖", "北辰", "长河", "大江"];
const DOCUMENTS = Number(process.env.CRE_QUEUE_DOCUMENTS ?? 300);
const KILLS = Number(process.env.CRE_QUEUE_KILLS ?? 4);
const WORKERS = 4;
const reason = noPostgres();
const random = createRandom(7);
let toys: ToyRuns;
let names = "";
let documents = "";

const ok = async (...command: string[]) => {
  const result = await cre(command, BEST);
  expect(result.stderr + result.stdout).not.toMatch(/error/);
  expect(result.code).toBe(0);
  return result;
};

beforeAll(async () => {
  toys = await toyRuns();
  names = file("names.csv");
  writeFileSync(names, `name\n${COMPANIES.join("\n")}\n`);
  documents = file("documents.jsonl");
  const texts = Array.from({ length: DOCUMENTS }, (_, i) => ({
    text: toyRows(1 + (i % 4), i)
      .map(({ sentence }) => `${sentence}。`)
      .join(i % 50 === 7 ? "\u0000" : ""),
    place: i,
  }));
  writeFileSync(documents, jsonl(texts));
  await ok("extract", toys.run, documents, "--entities", names, "--output", file("single"));
}, 240_000);
afterAll(() => temporary.remove());

const triples = (folder: string) => readFileSync(join(file(folder), "triples.jsonl"), "utf8");

describe("an embedded queue", () => {
  it("gives what a single process gives", async () => {
    const store = ["--store", file("embedded")];
    await ok("queue", "create", "news", "--entities", names, ...store);
    await ok("queue", "add", "news", documents, ...store);
    const again = await ok("queue", "add", "news", documents, ...store);
    expect(again.stderr).toContain(`0 documents added, ${DOCUMENTS} were there`);
    const early = await cre(["queue", "collect", "--output", file("early"), ...store], BEST);
    expect(early.stderr).toContain(`of ${DOCUMENTS} documents ${DOCUMENTS} wait`);
    expect(early.code).toBe(1);
    const worked = await ok("worker", toys.run, "--until-empty", ...store);
    expect(worked.stderr).toContain(`${DOCUMENTS} documents in`);
    await ok("queue", "collect", "--output", file("collected"), "--to", "jsonl,turtle,html", ...store);
    expect(triples("collected")).toBe(triples("single"));
    const page = readFileSync(join(file("collected"), "index.html"), "utf8");
    const [found] = triples("single").split("\n");
    expect(page).toContain(JSON.stringify(JSON.parse(found).sentence).slice(1, 9));
    const [status] = JSON.parse((await ok("queue", "status", "--json", ...store)).stdout);
    expect(status).toMatchObject({
      documents: DOCUMENTS,
      done: DOCUMENTS,
      waiting: 0,
      active: 0,
      failed: 0,
      bad: 0,
      workers: [],
    });
  }, 120_000);

  it("keeps rows and their bad lines in order", async () => {
    const rows = file("rows.jsonl");
    const lines = jsonl(toyRows(40, 3)).split("\n");
    lines.splice(7, 0, "", '{"sentence": 1}', "no JSON");
    writeFileSync(rows, lines.join("\n"));
    await ok("extract", toys.run, rows, "--output", file("rows-single.jsonl"));
    const store = ["--store", file("embedded")];
    await ok("queue", "create", "rows", "--rows", "--batch", "7", ...store);
    await ok("queue", "add", "rows", rows, ...store);
    const two = await cre(["worker", toys.run, "--until-empty", ...store], BEST);
    expect(two.stderr).toContain("several queues, expected the name of one: news, rows");
    await ok("worker", toys.run, "--queue", "rows", "--until-empty", ...store);
    await ok("queue", "collect", "rows", "--output", file("rows-collected.jsonl"), ...store);
    expect(readFileSync(file("rows-collected.jsonl"), "utf8")).toBe(readFileSync(file("rows-single.jsonl"), "utf8"));
    expect((await ok("queue", "remove", "rows", "--yes", ...store)).stderr).toContain("removed: rows, 42 documents");
    await ok("queue", "create", "rows", "--rows", ...store);
  }, 120_000);

  it("says what is wrong", async () => {
    const store = ["--store", file("embedded")];
    const fails = async (...command: string[]) => {
      const { code, stderr } = await cre([...command, ...store], BEST);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await fails("queue", "create", "news", "--entities", names)).toContain("The queue news exists already.");
    expect(await fails("queue", "create", "a/b", "--entities", names)).toContain("cannot be the name of a queue");
    expect(await fails("queue", "create", "x")).toContain("Documents need --entities");
    expect(await fails("queue", "add", "new", documents)).toContain("There is no queue new, did you mean news?");
    expect(await fails("worker", toys.loraRun, "--queue", "news")).toContain("The queue news belongs to the run");
    expect(await fails("queue", "collect", "news", "--output", file("collected"))).toContain("exists already");
    expect(await fails("queue", "remove", "news")).toContain(`has ${DOCUMENTS} documents`);
    const changed = file("changed/documents.jsonl");
    mkdirSync(file("changed"), { recursive: true });
    writeFileSync(changed, jsonl([{ text: "远山收购近水的股份。" }]));
    expect(await fails("queue", "add", "news", changed)).toContain("is in the queue news with another content");
    const nowhere = await cre(["queue", "status", "--store", "postgres://cre:secret@127.0.0.1:1/x"], BEST);
    expect(nowhere.stderr).toContain("--store postgres://cre@127.0.0.1:1/x: cannot be used");
    expect(nowhere.stderr).not.toContain("secret");
  }, 120_000);
});

describe.skipIf(reason !== null)(`a queue in PostgreSQL${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await makePostgres();
    await server.start();
  }, 60_000);
  afterAll(() => server.remove());

  it("counts every document once while workers are killed and the database restarts", async () => {
    const store = ["--store", server.address];
    await ok("queue", "create", "news", "--entities", names, "--batch", "8", ...store);
    await ok("queue", "add", "news", documents, ...store);
    const command = ["worker", toys.run, "--until-empty", "--lease", "5", ...store];
    let killed = 0;
    const worker = async (kills: number) => {
      for (let i = 0; i < kills; i++) {
        // At a random moment of its work: a while after it began to load the run.
        const kill = { when: () => true, afterMs: 800 + 2500 * random.uniform(), signal: "SIGKILL" } as const;
        const { signal, code } = await cre(command, { ...BEST, kill });
        if (signal === null) return code;
        killed++;
      }
      return (await cre(command, BEST)).code;
    };
    const restarts = async () => {
      for (let i = 0; i < 2; i++) {
        await sleep(3000);
        server.stop();
        await sleep(300);
        await server.start();
      }
    };
    const workers = Array.from({ length: WORKERS }, (_, i) => worker(Math.ceil((KILLS - i) / WORKERS)));
    const [codes] = await Promise.all([Promise.all(workers), restarts()]);
    expect(codes).toEqual(Array(WORKERS).fill(0));
    expect(killed).toBeGreaterThan(0);
    const [status] = JSON.parse((await ok("queue", "status", "--json", ...store)).stdout);
    expect(status).toMatchObject({ documents: DOCUMENTS, done: DOCUMENTS, waiting: 0, active: 0, failed: 0 });
    await ok("queue", "collect", "--output", file("many"), ...store);
    expect(triples("many")).toBe(triples("single"));
  }, 600_000);
});
