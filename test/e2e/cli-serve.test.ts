import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { linesOf, type Serving, serving } from "./serving.ts";
import { buildCli, cre, jsonl, temporaryFolder, toyRows, writeToyData } from "./support.ts";

// cre serve: two adapters on one base, against cre extract on the same rows.

const temporary = temporaryFolder("cli-serve");
const file = (name: string) => join(temporary.path, name);
const rows = toyRows(60, 9).map(({ relations: _, ...row }) => row);
let server: Serving;

beforeAll(async () => {
  await buildCli();
  const recipe = writeToyLora(file("toy.yaml"), writeToyData(file("data")), await writeToyBase(file("base")));
  for (const [name, seed] of [
    ["a", 5],
    ["b", 6],
  ] as const) {
    const trained = await cre(["train", recipe, "--run", file(name), "--set", `seed=${seed}`]);
    expect(trained.code, trained.stderr).toBe(0);
  }
  const evaluated = await cre(["evaluate", file("a")]);
  expect(evaluated.code, evaluated.stderr).toBe(0);
  writeFileSync(file("rows.jsonl"), jsonl(rows));
  server = await serving([file("a"), `second=${file("b")}`]);
}, 60_000);
afterAll(async () => {
  await server?.end();
  temporary.remove();
});

interface Answer {
  results: { id: string; predictions: { relation: string; probability: number }[]; probabilities?: object }[];
}

async function extracted(run: string) {
  const { stdout, code, stderr } = await cre(["extract", run, file("rows.jsonl")]);
  expect(code, stderr).toBe(0);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("POST /v1/extract", () => {
  it("answers as cre extract does, asked one by one at the same time, for two runs on one base", async () => {
    for (const [name, run] of [
      ["a", file("a")],
      ["second", file("b")],
    ]) {
      const expected = await extracted(run);
      const answers = await Promise.all(
        rows.map(async (row) => {
          const response = await server.post("/v1/extract", { run: name, examples: [row] });
          expect(response.status).toBe(200);
          return ((await response.json()) as Answer).results[0];
        }),
      );
      let largest = 0;
      for (const [i, { id, predictions }] of answers.entries()) {
        expect([id, predictions.map(({ relation }) => relation)]).toEqual([
          rows[i].id,
          expected[i].predictions.map(({ relation }: { relation: string }) => relation),
        ]);
        for (const [j, { probability }] of predictions.entries()) {
          largest = Math.max(largest, Math.abs(probability - expected[i].predictions[j].probability));
        }
      }
      expect(largest).toBeLessThanOrEqual(1.001e-6);
    }
    const { sharedBases } = (await (await server.get("/v1/runs")).json()) as { sharedBases: number };
    expect(sharedBases).toBe(1);
  });

  it("answers a batch in one body and line by line, with the whole distribution where it is asked for", async () => {
    const body = { run: "a", examples: rows, probabilities: true };
    const { results } = (await (await server.post("/v1/extract", body)).json()) as Answer;
    const streamed = await server.post("/v1/extract", { ...body, stream: true });
    expect(streamed.headers.get("content-type")).toContain("application/x-ndjson");
    const lines = await linesOf(streamed);
    expect(lines.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
    expect(lines.map(({ predictions }) => JSON.stringify(predictions).slice(0, 20))).toEqual(
      results.map(({ predictions }) => JSON.stringify(predictions).slice(0, 20)),
    );
    const sum = Object.values(results[0].probabilities as Record<string, number>).reduce((a, b) => a + b, 0);
    expect(sum).toBeCloseTo(1, 5);
  });

  it("says what is wrong with one example and answers the others", async () => {
    const examples = [rows[0], { sentence: "甲收购乙", head: "丙", tail: "乙" }];
    const { results } = (await (await server.post("/v1/extract", { run: "a", examples })).json()) as Answer;
    expect(results[0].predictions).toHaveLength(1);
    expect(results[1]).toEqual({
      error: expect.stringContaining('got the head "丙", expected a part of the sentence'),
    });
  });

  it("finds the triples of a text with names and places, in both units", async () => {
    const text = "😀远山收购近水的股份。东风与西岭合作。";
    const entities = [
      { name: "远山集团", aliases: ["远山"] },
      { name: "近水" },
      { start: 11, end: 13 },
      { startUtf16: 15, endUtf16: 17, type: "公司" },
    ];
    const response = await server.post("/v1/extract", { run: "a", text, entities });
    const { triples, mentions } = (await response.json()) as { triples: Record<string, never>[]; mentions: object[] };
    expect(mentions).toHaveLength(4);
    expect(triples).toEqual([
      expect.objectContaining({
        sentence: "😀远山收购近水的股份。",
        head: {
          text: "远山",
          id: "远山集团",
          name: "远山集团",
          type: null,
          start: 1,
          end: 3,
          startUtf16: 2,
          endUtf16: 4,
        },
        relation: "收购",
        tail: expect.objectContaining({ text: "近水", start: 5, startUtf16: 6 }),
      }),
      expect.objectContaining({
        head: expect.objectContaining({ text: "东风", start: 11, end: 13, startUtf16: 12, endUtf16: 14 }),
        relation: "合作",
        tail: expect.objectContaining({ text: "西岭", type: "公司", startUtf16: 15 }),
      }),
    ]);
  });

  it("refuses with a problem that says what to do", async () => {
    const refused = async (body: unknown) => {
      const response = await server.post("/v1/extract", body);
      expect(response.headers.get("content-type")).toContain("application/problem+json");
      const { status, code, detail, hint } = (await response.json()) as Record<string, unknown>;
      expect(status).toBe(response.status);
      return [status, code, `${detail} ${hint ?? ""}`];
    };
    expect(await refused({ run: "secnd", text: "x" })).toEqual([
      404,
      "not-found",
      'There is no run "secnd", expected one of: a, second. Did you mean "second"?',
    ]);
    expect(await refused({ run: "a" })).toEqual([
      400,
      "bad-request",
      expect.stringContaining('Expected either "examples" or "text"'),
    ]);
    expect(await refused({ run: "a", text: "甲" })).toEqual([
      400,
      "bad-request",
      expect.stringContaining("start the server with --entities"),
    ]);
    expect(await refused({ run: "a", text: "甲", find: true })).toEqual([
      422,
      "unusable",
      expect.stringContaining("was not trained to find entities"),
    ]);
    expect(await refused({ run: "a", text: "甲", entities: [{ start: 0, end: 7 }] })).toEqual([
      422,
      "unusable",
      expect.stringContaining("entities.0: has the place [0, 7), which is outside the text"),
    ]);
    expect(await refused({ run: "a", text: "甲", exampels: [] })).toEqual([
      400,
      "bad-request",
      expect.stringContaining('has the unknown key "exampels"'),
    ]);
    expect(await refused("{")).toEqual([400, "bad-request", expect.any(String)]);
    expect(await refused(`{"run": "a", "text": "${"甲".repeat(700_000)}"}`)).toEqual([
      413,
      "too-large",
      expect.any(String),
    ]);
  });
});

describe("POST /v1/documents", () => {
  const upload = (name: string, content: string, settings: object) => {
    const form = new FormData();
    form.append("settings", JSON.stringify(settings));
    form.append("file", new Blob([content]), name);
    return fetch(`${server.url}/v1/documents`, { method: "POST", body: form });
  };
  const entities = [{ name: "远山" }, { name: "近水" }];

  it("reads a file under the limits of the readers and names it as the client does", async () => {
    const response = await upload("../../etc/新闻.html", "<p>远山收购<b>近水</b>的股份。</p>", { run: "a", entities });
    const { triples, read } = (await response.json()) as { triples: object[]; read: object };
    expect(triples).toEqual([expect.objectContaining({ document: "新闻.html", relation: "收购" })]);
    expect(read).toMatchObject({ files: 1, documents: 1, bad: 0 });
    const rowsOfTable = await upload("a.csv", "id,text\n1,远山收购近水的股份\n2,远山与近水合作\n", {
      run: "a",
      entities,
      stream: true,
    });
    const lines = await linesOf(rowsOfTable);
    expect(lines.flatMap(({ triple }) => (triple ? [(triple as { document: string }).document] : []))).toEqual([
      "a.csv#2",
      "a.csv#3",
    ]);
    expect(lines.at(-1)).toEqual({ counts: expect.objectContaining({ documents: 2, triples: 2 }) });
  });

  it("tells a broken file, an unknown format and a wrong part", async () => {
    const broken = (await (await upload("a.pdf", "no pdf", { run: "a", entities })).json()) as {
      badDocuments: object[];
    };
    expect(broken.badDocuments).toEqual([{ document: "a.pdf", reason: expect.stringContaining("PDF") }]);
    const unknown = await upload("a.exe", "x", { run: "a", entities });
    expect([unknown.status, ((await unknown.json()) as { hint: string }).hint]).toEqual([
      415,
      expect.stringContaining(".docx"),
    ]);
    const wrong = await upload("a.txt", "x", { run: "a", entitys: [] });
    expect([wrong.status, ((await wrong.json()) as { detail: string }).detail]).toEqual([
      400,
      'settings: has the unknown key "entitys".',
    ]);
    const large = await upload("a.txt", "远".repeat(6_000_000), { run: "a", entities });
    expect(large.status).toBe(413);
  });
});

describe("the server", () => {
  it("describes itself without the network, and counts", async () => {
    const document = (await (await server.get("/openapi.json")).json()) as { openapi: string; paths: object };
    expect([document.openapi, Object.keys(document.paths)]).toEqual([
      "3.1.0",
      expect.arrayContaining(["/v1/extract", "/v1/documents", "/v1/runs", "/v1/runs/{name}/report"]),
    ]);
    const page = await server.get("/docs");
    const html = await page.text();
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(html).toContain("POST /v1/extract");
    expect(html).not.toMatch(/<script|src=|https?:\/\//);
    const metrics = await (await server.get("/metrics")).text();
    expect(metrics).toMatch(/cre_predictions_total\{run="a",label="收购"\} [1-9]/);
    expect(metrics).toMatch(/cre_requests_total\{route="\/v1\/extract",method="POST",status="200"\} [1-9]/);
    expect(metrics).toMatch(/cre_tokens_total\{run="second",kind="computed"\} [1-9]/);
    const metricsOfRun = (await (await server.get("/v1/runs/a/report")).json()) as object;
    expect(metricsOfRun).toEqual(JSON.parse(readFileSync(file("a/metrics.json"), "utf8")));
    const report = await server.get("/v1/runs/a/report", { accept: "text/html" });
    expect([report.status, await report.text()]).toEqual([200, expect.stringContaining("<html")]);
    expect((await server.get("/v1/runs/second/report")).status).toBe(404);
  });

  it("is closed to other origins, names of other hosts, and clients without a token", async () => {
    const foreign = await server.post("/v1/extract", { run: "a", text: "x" }, { origin: "https://example.com" });
    expect([foreign.status, foreign.headers.get("access-control-allow-origin")]).toEqual([403, null]);
    writeFileSync(file("tokens.txt"), "# of the tests\n0123456789abcdef0123\n");
    const guarded = await serving([
      file("a"),
      "--token-file",
      file("tokens.txt"),
      "--allow-origin",
      "https://example.com",
    ]);
    const statuses: number[] = [];
    for (const token of [undefined, "wrong", "0123456789abcdef0123"]) {
      const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
      statuses.push((await guarded.get("/v1/runs", headers)).status);
    }
    statuses.push((await guarded.get("/health")).status);
    const allowed = await guarded.get("/health", { origin: "https://example.com" });
    expect([statuses, allowed.headers.get("access-control-allow-origin")]).toEqual([
      [401, 401, 200, 200],
      "https://example.com",
    ]);
    const log = guarded.stderr();
    expect(await guarded.end()).toBe(0);
    expect(log).toContain('"route":"/v1/runs","status":401');
    expect(log).not.toContain("0123456789abcdef");
    for (const [command, message] of [
      [["--host", "0.0.0.0"], "others can reach it, expected --token-file with it"],
      [[file("a")], "two runs have the name"],
    ] as const) {
      const { code, stderr } = await cre(["serve", file("a"), ...command]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
  });

  it("ends requests in progress before it exits", async () => {
    const own = await serving([file("a")]);
    const examples = Array.from({ length: 150 }, (_, i) => rows[i % rows.length]);
    const answer = own.post("/v1/extract", { examples });
    while (!/[1-9]/.test(/cre_open_requests (\d+)/.exec(await (await own.get("/metrics")).text())?.[1] ?? "")) {}
    const code = own.end();
    expect(((await (await answer).json()) as Answer).results).toHaveLength(150);
    expect(await code).toBe(0);
  });
});
