import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { makePostgres, noPostgres, type PostgresServer } from "../postgres/server.ts";
import { type CreOptions, cre, jsonl, ROOT, temporaryFolder, toyRows } from "./support.ts";

// A corpus by several workers over one database gives what a single process gives.

const temporary = temporaryFolder("queue");
const file = (name: string) => join(temporary.path, name);
const BEST: CreOptions = { env: { CRE_BACKEND: "" } };
const COMPANIES = ["远山", "近水", "东风", "西岭", "南湖", "北辰", "长河", "大江"];
/** Documents of the tests that kill workers, and kills of each: .ci/run has 20,000 and 20, and 4,000 in the embedded store, which has one worker. */
const DOCUMENTS = Number(process.env.CRE_QUEUE_DOCUMENTS ?? 300);
const EMBEDDED = Math.min(DOCUMENTS, Number(process.env.CRE_QUEUE_EMBEDDED_DOCUMENTS ?? DOCUMENTS));
const KILLS = Number(process.env.CRE_QUEUE_KILLS ?? 4);
const FEW = 100;
const MOST_RATED = 2000;
const WORKERS = 4;
/** Time for all documents, on a machine that does other work too. */
const TIMEOUT_MS = 300_000 + 60 * DOCUMENTS;
/** Longest time that a worker is left to work: it would end earlier with few documents. */
const LONGEST_WORK_MS = DOCUMENTS < 2000 ? 300 : 2500;
const BATCH = DOCUMENTS < 2000 ? "8" : "32";
const reason = noPostgres();
const random = createRandom(7);
let toys: ToyRuns;
let names = "";
let documents = "";
/** The first ones of them. */
let embedded = "";
let few = "";

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
  embedded = file("embedded.jsonl");
  writeFileSync(embedded, jsonl(texts.slice(0, EMBEDDED)));
  few = file("few.jsonl");
  writeFileSync(few, jsonl(texts.slice(0, FEW)));
  await ok("extract", toys.run, documents, "--entities", names, "--output", file("single"));
  await ok("extract", toys.run, embedded, "--entities", names, "--output", file("embedded-single"));
  await ok("extract", toys.run, few, "--entities", names, "--output", file("few-single"));
}, TIMEOUT_MS);
afterAll(() => temporary.remove());

/** At a random moment of a worker's work. */
const killAtWork = (): CreOptions["kill"] => ({
  when: (stderr) => stderr.includes("working on news"),
  afterMs: LONGEST_WORK_MS * random.uniform(),
  signal: "SIGKILL",
});
const triples = (folder: string) => readFileSync(join(file(folder), "triples.jsonl"), "utf8");

describe("an embedded queue", () => {
  it(
    "gives what a single process gives",
    async () => {
      const store = ["--store", file("embedded")];
      await ok("queue", "create", "news", "--entities", names, ...store);
      await ok("queue", "add", "news", few, ...store);
      const again = await ok("queue", "add", "news", few, ...store);
      expect(again.stderr).toContain(`0 documents added, ${FEW} were there`);
      const early = await cre(["queue", "collect", "--output", file("early"), ...store], BEST);
      expect(early.stderr).toContain(`of ${FEW} documents ${FEW} wait`);
      expect(early.code).toBe(1);
      const worked = await ok("worker", toys.run, "--until-empty", ...store);
      expect(worked.stderr).toContain(`${FEW} documents in`);
      await ok("queue", "collect", "--output", file("collected"), "--to", "jsonl,turtle,html", ...store);
      expect(triples("collected")).toBe(triples("few-single"));
      const page = readFileSync(join(file("collected"), "index.html"), "utf8");
      const [found] = triples("few-single").split("\n");
      expect(page).toContain(JSON.stringify(JSON.parse(found).sentence).slice(1, 9));
      const [status] = JSON.parse((await ok("queue", "status", "--json", ...store)).stdout);
      expect(status).toMatchObject({
        documents: FEW,
        done: FEW,
        waiting: 0,
        active: 0,
        failed: 0,
        bad: 0,
        workers: [],
      });
    },
    TIMEOUT_MS,
  );

  it(
    "counts every document once while its worker is killed",
    async () => {
      const store = ["--store", file("killed")];
      await ok("queue", "create", "news", "--entities", names, "--batch", BATCH, ...store);
      await ok("queue", "add", "news", embedded, ...store);
      const command = ["worker", toys.run, "--until-empty", "--lease", "1", ...store];
      let killed = 0;
      for (let i = 0; i < KILLS; i++) {
        const { signal, code, stderr } = await cre(command, { ...BEST, kill: killAtWork() });
        if (signal === "SIGKILL") killed++;
        else expect(code, stderr).toBe(0);
      }
      expect(killed).toBeGreaterThan(0);
      await ok(...command);
      const [status] = JSON.parse((await ok("queue", "status", "--json", ...store)).stdout);
      expect(status).toMatchObject({ documents: EMBEDDED, done: EMBEDDED, waiting: 0, active: 0, failed: 0 });
      await ok("queue", "collect", "--output", file("killed-collected"), ...store);
      expect(triples("killed-collected")).toBe(triples("embedded-single"));
    },
    TIMEOUT_MS,
  );

  it(
    "keeps rows and their bad lines in order",
    async () => {
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
    },
    TIMEOUT_MS,
  );

  it(
    "says what is wrong",
    async () => {
      const store = ["--store", file("embedded")];
      const fails = async (...command: string[]) => {
        const { code, stderr } = await cre([...command, ...store], BEST);
        expect(code).toBe(1);
        return stderr;
      };
      expect(await fails("queue", "create", "news", "--entities", names)).toContain("The queue news exists already.");
      expect(await fails("queue", "create", "a/b", "--entities", names)).toContain("cannot be the name of a queue");
      expect(await fails("queue", "create", "x")).toContain("Documents need --entities");
      expect(await fails("queue", "add", "new", few)).toContain("There is no queue new, did you mean news?");
      expect(await fails("worker", toys.loraRun, "--queue", "news")).toContain("The queue news belongs to the run");
      expect(await fails("queue", "collect", "news", "--output", file("collected"))).toContain("exists already");
      expect(await fails("queue", "remove", "news")).toContain(`has ${FEW} documents`);
      const changed = file("changed/few.jsonl");
      mkdirSync(file("changed"), { recursive: true });
      writeFileSync(changed, jsonl([{ text: "远山收购近水的股份。" }]));
      expect(await fails("queue", "add", "news", changed)).toContain("is in the queue news with another content");
      const nowhere = await cre(["queue", "status", "--store", "postgres://cre:secret@127.0.0.1:1/x"], BEST);
      expect(nowhere.stderr).toContain("--store postgres://cre@127.0.0.1:1/x: cannot be used");
      expect(nowhere.stderr).not.toContain("secret");
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(reason !== null)(`a queue in PostgreSQL${reason === null ? "" : ` (skipped: ${reason})`}`, () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await makePostgres();
    await server.start();
  }, 60_000);
  afterAll(() => server.remove());

  it(
    "counts every document once while workers are killed and the database restarts",
    async () => {
      const store = ["--store", server.address];
      await ok("queue", "create", "news", "--entities", names, "--batch", BATCH, ...store);
      await ok("queue", "add", "news", documents, ...store);
      const command = ["worker", toys.run, "--until-empty", "--lease", "5", ...store];
      let killed = 0;
      const worker = async (kills: number) => {
        for (let i = 0; i < kills; i++) {
          const { signal, code } = await cre(command, { ...BEST, kill: killAtWork() });
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
    },
    TIMEOUT_MS,
  );

  it(
    "has its rates printed: claims of the queue alone, and two workers against one",
    async () => {
      const bench = async (...words: string[]) => {
        const script = [join(ROOT, "bench", "queue.mjs"), ...words, "--store", server.address];
        const { stdout } = await promisify(execFile)(process.execPath, script);
        console.log(stdout.trim());
        return stdout;
      };
      expect(await bench("claims", "--documents", "2000")).toMatch(/4 workers, .*: \d+ documents\/s, \d+ claims\/s/);
      const rated = file("rated.jsonl");
      const lines = readFileSync(documents, "utf8").split("\n").slice(0, MOST_RATED);
      writeFileSync(rated, `${lines.join("\n").trimEnd()}\n`);
      expect(await bench("workers", toys.run, rated, names)).toMatch(/1 worker .* 2 workers .*: [\d.]+ times/);
    },
    TIMEOUT_MS,
  );
});
