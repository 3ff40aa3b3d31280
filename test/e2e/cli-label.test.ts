import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { commandServer } from "../faults/harness.ts";
import {
  buildCli,
  type CreOptions,
  jsonl,
  cre as ownProcess,
  ROOT,
  temporaryFolder,
  toyRecipe,
  toyRows,
  writeRecipe,
  writeToyData,
} from "./support.ts";

/** Starts of the program and a loaded machine. */
const TIMEOUT_MS = 240_000;
const folder = temporaryFolder("label");
/** Commands that are not killed run in one process. */
const commands = commandServer();
const cre = (words: string[]) => commands.run(words);
const path = (...names: string[]) => join(folder.path, ...names);
const data = writeToyData(path("data"));
const rows = path("rows.jsonl");
const labels = path("labels.json");
const log = path("log.jsonl");
const ROWS = 30;
let server: ChildProcessWithoutNullStreams;
let endpoint: string;

interface Logged {
  event: "asked" | "answered";
  row: string;
  seed: number;
  tokens: number;
}

const text = (...names: string[]) => readFileSync(path(...names), "utf8");
const rowsIn = (...names: string[]) =>
  text(...names)
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
const logged = (event: Logged["event"]): Logged[] => rowsIn("log.jsonl").filter((line: Logged) => line.event === event);

beforeAll(async () => {
  await buildCli();
  const gold = toyRows(ROWS, 9);
  writeFileSync(rows, jsonl(gold.map(({ relations: _, ...row }) => row)));
  writeFileSync(path("gold.jsonl"), jsonl(gold));
  const set = JSON.parse(text("data", "labels.json"));
  const definitions = {
    收购: { definition: "头实体买下尾实体", examples: [{ sentence: "甲收购乙", head: "甲", tail: "乙" }] },
  };
  writeFileSync(labels, JSON.stringify({ ...set, definitions }));
  const script = join(ROOT, "bench", "annotator-server.mjs");
  const words = ["--gold", path("gold.jsonl"), "--labels", labels, "--delay", "20", "--log", log];
  server = spawn(process.execPath, [script, ...words]);
  endpoint = await new Promise((done) => server.stdout.once("data", (line) => done(String(line).trim())));
}, TIMEOUT_MS);
afterAll(async () => {
  await commands.close();
  server.kill();
  folder.remove();
});

/** Labels the toy rows into a folder; the log begins anew. */
async function label(output: string, words: string[] = [], kill?: CreOptions["kill"]) {
  writeFileSync(log, "");
  const own = ["label", rows, "--labels", labels, "--output", path(output)];
  const all = [...own, "--endpoint", endpoint, "--model", "annotator", "--concurrency", "4", ...words];
  return kill ? ownProcess(all, { kill }) : cre(all);
}

const ANSWERS = ["--answers", "3"];

describe("cre label", { timeout: TIMEOUT_MS }, () => {
  it("writes a data folder with soft labels that cre train learns", async () => {
    const { code, stderr } = await label("whole", [...ANSWERS, "--review", "5"]);
    expect(stderr).toContain(`${path("whole")}/train.jsonl: ${ROWS} rows`);
    expect(stderr).toContain(`${3 * ROWS} requests, `);
    expect(code).toBe(0);
    const written = rowsIn("whole", "train.jsonl");
    expect(written.map(({ id, sentence }) => [id, sentence])).toEqual(
      rowsIn("rows.jsonl").map((row) => [row.id, row.sentence]),
    );
    const split = written.find(({ agreement }) => agreement === 0.6667);
    // Two of three answers say more than two thirds, since answers to other rows agree.
    expect(Object.keys(split.softLabels)).toEqual([split.relations[0], expect.any(String)]);
    expect(split.softLabels[split.relations[0]]).toBeGreaterThan(0.7);
    expect(stderr).toMatch(/by that, about \d+\.\d % of the answers are right, if mistakes are scattered/);
    expect(written.find(({ agreement }) => agreement === 1).softLabels).toBeUndefined();
    expect(JSON.parse(text("whole", "labels.json")).definitions.收购.examples).toHaveLength(1);
    // Each (row, answer) once, and tokens as the server counts them.
    const asked = logged("asked");
    expect(new Set(asked.map(({ row, seed }) => `${row} ${seed}`)).size).toBe(3 * ROWS);
    const summary = JSON.parse(text("whole", "labelling.json"));
    expect(summary.requests.spent).toBe(asked.reduce((sum, { tokens }) => sum + tokens, 0));
    expect(Object.values(summary.labels).reduce((a, b) => Number(a) + Number(b), 0)).toBe(ROWS);

    const review = rowsIn("whole", "review.jsonl");
    expect(review).toHaveLength(5);
    expect(JSON.parse(text("whole", "review.label-studio.json"))).toHaveLength(5);
    expect(review[0].agreement).toBeLessThanOrEqual(0.5);

    const recipe = writeRecipe(path("recipe.yaml"), toyRecipe(path("whole")));
    const trained = await ownProcess(["train", recipe, "--run", path("run")]);
    expect(trained.stderr).toMatch(/soft labels of \d+ rows are learned: \d\.\d\d answers a row/);
    expect(trained.code).toBe(0);
    expect(parse(text("run", "recipe.yaml")).distill).toBeUndefined();

    const byModel = text("whole", "train.jsonl");
    expect((await label("whole", [...ANSWERS, "--combine", "mean"])).stderr).toMatch(/^0 requests, /m);
    const mean = rowsIn("whole", "train.jsonl").find(({ agreement }) => agreement === 0.6667);
    expect(Object.values(mean.softLabels)).toEqual([0.666667, 0.333333]);
    expect((await label("whole", ANSWERS)).code).toBe(0);
    expect(text("whole", "train.jsonl")).toBe(byModel);
  });

  it("killed in the middle asks nothing again that was answered, and ends with the same bytes", async () => {
    const answered = () => existsSync(log) && readFileSync(log, "utf8").split("answered").length > 31;
    const killed = await label("killed", ANSWERS, { when: answered, signal: "SIGKILL" });
    expect(killed.signal).toBe("SIGKILL");
    expect(existsSync(path("killed", "train.jsonl"))).toBe(false);
    const before = logged("asked").map(({ row, seed }) => `${row} ${seed}`);
    const journal = text("killed", "answers.jsonl")
      .split("\n")
      .filter((line) => line.includes('"key"')).length;
    expect(before.length).toBeLessThan(3 * ROWS);
    // Half a line, as a crash of the machine leaves it.
    writeFileSync(path("killed", "answers.jsonl"), `${text("killed", "answers.jsonl")}{"key":"12`);

    const resumed = await label("killed", ANSWERS);
    expect(resumed.code).toBe(0);
    const after = logged("asked").map(({ row, seed }) => `${row} ${seed}`);
    // Only requests whose answers had not arrived are made again: at most those in progress.
    expect(after).toHaveLength(3 * ROWS - journal);
    expect(after.filter((one) => before.includes(one)).length).toBeLessThanOrEqual(4);
    expect(text("killed", "train.jsonl")).toBe(text("whole", "train.jsonl"));
    expect(text("killed", "labels.json")).toBe(text("whole", "labels.json"));
  });

  it("asks nothing of a finished folder, and only what is new for more answers", async () => {
    const again = await label("whole", ANSWERS);
    expect([again.code, logged("asked").length]).toEqual([0, 0]);
    expect(again.stderr).toContain(`${3 * ROWS} answers were there`);
    expect((await label("whole", ["--answers", "4"])).code).toBe(0);
    expect(logged("asked")).toHaveLength(ROWS);
  });

  it("stops at the budget exactly, says what is left, and goes on with a larger one", async () => {
    const limit = 12_000;
    const stopped = await label("budget", [...ANSWERS, "--max-tokens-total", String(limit)]);
    expect(stopped.code).toBe(0);
    const asked = logged("asked");
    const spent = asked.reduce((sum, { tokens }) => sum + tokens, 0);
    expect(spent).toBeLessThanOrEqual(limit);
    // Less is left than the next request may need: its prompt as the server counts it, 3 bytes for a character of the question, and 64 for the answer.
    expect(limit - spent).toBeLessThan(asked[0].tokens + 3 * 60 + 64);
    expect(stopped.stderr).toContain(`${spent} tokens spent in all of ${limit}`);
    expect(stopped.stderr).toMatch(/the budget is spent: \d+ rows lack \d+ answers/);
    const done = rowsIn("budget", "train.jsonl");
    expect(done.length).toBe(Math.floor(asked.length / 3));
    expect(text("whole", "train.jsonl").length).toBeGreaterThan(text("budget", "train.jsonl").length);

    const more = await label("budget", ANSWERS);
    expect(more.code).toBe(0);
    expect(logged("asked")).toHaveLength(3 * ROWS - asked.length);
    expect(text("budget", "train.jsonl")).toBe(text("killed", "train.jsonl"));
    const small = await label("small", ["--max-tokens-total", "100"]);
    expect(small.stderr).toContain("--max-tokens-total 100: is spent before one row had all of its answers.");
    expect([small.code, logged("asked").length]).toEqual([1, 0]);
  });

  it("after Ctrl-C finishes the requests in progress and keeps them", async () => {
    const answered = () => existsSync(log) && readFileSync(log, "utf8").split("answered").length > 10;
    const stopped = await label("stopped", ANSWERS, { when: answered, signal: "SIGINT" });
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toMatch(/stopped: \d+ answers are left. Repeat the same command to resume./);
    const [asked, done] = [logged("asked").length, logged("answered").length];
    expect(asked).toBe(done);
    await label("stopped", ANSWERS);
    expect(logged("asked")).toHaveLength(3 * ROWS - asked);
    expect(text("stopped", "train.jsonl")).toBe(text("killed", "train.jsonl"));
  });

  it("estimates without asking", async () => {
    const words = ["label", rows, "--labels", labels, "--model", "annotator", "--dry-run", "--price-in", "2", "--json"];
    writeFileSync(log, "");
    const { code, stdout, stderr } = await cre([...words, "--output", path("never"), "--max-tokens-total", "3000"]);
    const estimate = JSON.parse(stdout);
    expect(estimate).toMatchObject({ rows: ROWS, requests: ROWS, kept: 0, isMeasured: false });
    expect(estimate.price).toBeCloseTo((2 * estimate.promptTokens) / 1e6, 10);
    expect(estimate.promptTokens + estimate.answerTokens).toBeLessThan(estimate.mostTokens);
    expect(stderr).toMatch(/--max-tokens-total 3000 covers about \d+ of the 30 requests/);
    expect([code, text("log.jsonl"), existsSync(path("never"))]).toEqual([0, "", false]);
    // A folder with answers has counts of its own server, and they are not asked again.
    const begun = await cre([...words, "--answers", "5", "--output", path("whole")]);
    expect(JSON.parse(begun.stdout)).toMatchObject({ kept: 4 * ROWS, requests: ROWS, isMeasured: true });
  });

  it("takes the labels of a person in the place of the model's, and asks nothing about them", async () => {
    const [first, second] = rowsIn("rows.jsonl");
    writeFileSync(path("reviewed.jsonl"), jsonl([{ ...first, relations: ["合作"] }]));
    const { code, stderr } = await label("reviewed", ["--reviewed", path("reviewed.jsonl")]);
    expect([code, logged("asked").length]).toEqual([0, ROWS - 1]);
    expect(stderr).toContain("1 by a person");
    const written = rowsIn("reviewed", "train.jsonl");
    expect(written[0]).toEqual({ ...first, relations: ["合作"] });
    expect(written[1].sentence).toBe(second.sentence);
    writeFileSync(path("reviewed.jsonl"), jsonl([{ ...first, relations: [] }]));
    const wrong = await label("reviewed", ["--reviewed", path("reviewed.jsonl")]);
    expect(wrong.stderr).toContain("--reviewed: 1 of 1 rows cannot be used:");
  });

  it("labels pairs of names in documents, each order with the labels that its types allow", async () => {
    mkdirSync(path("documents"), { recursive: true });
    writeFileSync(path("documents", "a.txt"), "远山收购近水的股份。张三和东风都在本市。");
    writeFileSync(path("names.csv"), "id,name,type\n1,远山,公司\n2,近水,公司\n3,张三,人\n4,东风,公司\n");
    writeFileSync(path("types.json"), JSON.stringify({ 收购: [["公司", "公司"]], 合作: [["公司", "公司"]] }));
    const { code, stderr } = await cre([
      ...["label", path("documents"), "--labels", labels, "--output", path("from-documents"), "--endpoint", endpoint],
      ...["--model", "annotator", "--entities", path("names.csv"), "--types", path("types.json")],
    ]);
    expect(stderr).toContain("1 documents, 2 sentences, 4 mentions, 1 pairs, 1 pairs excluded by types");
    expect(code).toBe(0);
    const written = rowsIn("from-documents", "train.jsonl");
    expect(written[0]).toMatchObject({
      sentence: "远山收购近水的股份。",
      head: "远山",
      tail: "近水",
      document: "a.txt",
    });
  });

  it("refuses what cannot be done in one line", async () => {
    const refusal = async (...words: string[]) => {
      const { code, stderr } = await cre(["label", rows, "--labels", labels, "--output", path("none"), ...words]);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await refusal("--model", "m")).toContain("--endpoint: is missing, expected the address of a server.");
    expect(await refusal("--endpoint", endpoint)).toContain("--model: is missing");
    const named = ["--endpoint", endpoint, "--model", "m"];
    expect(await refusal(...named, "--window", "2")).toContain(
      "--window: belongs to documents, expected --entities with it.",
    );
    expect(await refusal(...named, "--format", "docx")).toContain("is a format of documents, expected --entities");
    const absent = await refusal("--endpoint", "http://127.0.0.1:65499/v1", "--model", "m");
    expect(absent).toContain("http://127.0.0.1:65499/v1: no server answers (ECONNREFUSED)");
    const foreign = await cre(["label", rows, "--labels", labels, "--output", data, ...named]);
    expect(foreign.stderr).toContain("holds data that cre label did not write; it is left as it is.");
    expect(readdirSync(data).sort()).toEqual(["labels.json", "test.jsonl", "train.jsonl", "valid.jsonl"]);
    expect(readdirSync(path("none"))).toEqual(["answers.jsonl"]);
    rmSync(path("budget", "answers.jsonl"));
    writeFileSync(path("budget", "answers.jsonl"), "hello\n");
    expect((await label("budget")).stderr).toContain("answers.jsonl, line 1: is not the journal of cre label");
  });
});
