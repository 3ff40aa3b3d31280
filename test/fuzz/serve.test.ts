import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { arbitraryOf, type JsonSchema, nearlyOf } from "../e2e/schema-arbitrary.ts";
import { type Serving, serving } from "../e2e/serving.ts";
import { buildCli, cre, temporaryFolder, toyRecipe, writeRecipe, writeToyData } from "../e2e/support.ts";

// Requests made from the server's own OpenAPI document, valid and nearly valid; broken connections. CRE_FUZZ_RUNS=10000 for more.

const RUNS = Number(process.env.CRE_FUZZ_RUNS ?? 40);
const temporary = temporaryFolder("fuzz-serve");
const file = (name: string) => `${temporary.path}/${name}`;

interface Operation {
  requestBody?: {
    content: Record<string, { schema: JsonSchema; example?: unknown; examples?: Record<string, { value: unknown }> }>;
  };
  responses: Record<string, { content?: Record<string, object> }>;
  parameters?: { name: string; in: string }[];
}
let server: Serving;
let operations: { path: string; method: string; operation: Operation }[];

beforeAll(async () => {
  await buildCli();
  const recipe = writeRecipe(file("toy.yaml"), toyRecipe(writeToyData(file("data"))));
  const trained = await cre(["train", recipe, "--run", file("toy")]);
  expect(trained.code, trained.stderr).toBe(0);
  server = await serving([file("toy"), "--log", "error", "--request-seconds", "20"]);
  const document = (await (await server.get("/openapi.json")).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
}, 60_000);
afterAll(async () => {
  await server?.end();
  temporary.remove();
});

/** Checks that an answer is one that the document has, and says what is wrong as the others do. */
async function expectDocumented(response: Response, { responses }: Operation, shown: unknown): Promise<number> {
  const text = await response.text();
  const { status } = response;
  expect(status, `${JSON.stringify(shown)?.slice(0, 2000)}\n${text.slice(0, 500)}`).not.toBe(500);
  expect(Object.keys(responses).map(Number), `${status} ${JSON.stringify(shown)?.slice(0, 2000)}`).toContain(status);
  const type = response.headers.get("content-type")?.split(";")[0] ?? "";
  expect(Object.keys(responses[status].content ?? {}), `${status} ${JSON.stringify(shown)?.slice(0, 2000)}`).toContain(
    type,
  );
  if (status < 400) return status;
  expect(type).toBe("application/problem+json");
  expect(JSON.parse(text)).toMatchObject({ status, detail: expect.stringMatching(/./) });
  return status;
}

const settingsOf = ({ requestBody }: Operation) =>
  requestBody?.content["multipart/form-data"].schema.properties?.settings as JsonSchema;
const bodyOf = ({ requestBody }: Operation) => requestBody?.content["application/json"]?.schema;

describe("cre serve", () => {
  it("answers the examples of its OpenAPI document", async () => {
    let answered = 0;
    for (const { path, operation } of operations) {
      const { example, examples = {} } = operation.requestBody?.content["application/json"] ?? {};
      for (const one of [example ?? [], Object.values(examples).map(({ value }) => value)].flat()) {
        const response = await server.post(path, one);
        expect(response.status, `${path} ${await response.text()}`).toBe(200);
        answered++;
      }
    }
    expect(answered).toBeGreaterThanOrEqual(4);
  });

  it("answers what its document allows, and nearly allows, as the document says", async () => {
    const statuses = new Set<number>();
    for (const { path, operation } of operations) {
      const schema = bodyOf(operation);
      if (!schema) continue;
      const ask = async (body: unknown) => {
        statuses.add(await expectDocumented(await server.post(path, body), operation, body));
      };
      await fc.assert(fc.asyncProperty(arbitraryOf(schema), ask), { numRuns: RUNS, seed: 1 });
      await fc.assert(fc.asyncProperty(nearlyOf(schema), ask), { numRuns: RUNS, seed: 2 });
    }
    expect(statuses).toContain(200);
    expect(statuses).toContain(400);
  }, 3_600_000);

  it("answers any parameters, bytes and uploads", async () => {
    const word = fc.oneof(
      fc.string({ unit: "binary", maxLength: 40 }),
      fc.constantFrom("..", "%00", "%ff", "a/b", "toy", "__proto__", "远".repeat(500)),
    );
    const gets = operations.filter(({ method }) => method === "get");
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...gets), word, async ({ path, operation }, given) => {
        const filled = path.replace(
          /\{\w+\}/g,
          () => encodeURIComponent(/\p{Surrogate}/u.test(given) ? "x" : given) || "x",
        );
        const response = await server.get(filled);
        // "." and ".." lead to another route.
        if (/^\.{1,2}$/.test(given)) expect(response.status).not.toBe(500);
        else await expectDocumented(response, operation, filled);
      }),
      { numRuns: RUNS, seed: 3 },
    );
    const types = [
      "application/json",
      "text/plain",
      "multipart/form-data",
      "multipart/form-data; boundary=x",
      "application/json; charset=gbk",
      "",
    ];
    const posts = operations.filter(({ method }) => method === "post");
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...posts),
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(...types),
        async ({ path }, bytes, type) => {
          const headers: Record<string, string> = type === "" ? {} : { "content-type": type };
          const response = await fetch(server.url + path, { method: "POST", body: bytes, headers });
          expect([400, 404, 413, 415]).toContain(response.status);
        },
      ),
      { numRuns: RUNS, seed: 4 },
    );
    const upload = operations.find(({ path }) => path === "/v1/documents") as (typeof operations)[number];
    const names = fc.constantFrom(
      "a.txt",
      "a.html",
      "a.csv",
      "a.json",
      "a.jsonl",
      "a.md",
      "a.txt.gz",
      "../a.txt",
      "a",
      "a.xyz",
      "甲.tsv",
    );
    const contents = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom("远山收购近水", '{"text": "远山"}', "text\n远山").map((text) => Buffer.from(text)),
    );
    await fc.assert(
      fc.asyncProperty(nearlyOf(settingsOf(upload.operation)), names, contents, async (settings, name, bytes) => {
        const form = new FormData();
        form.append("settings", JSON.stringify(settings) ?? "");
        form.append("file", new Blob([bytes as BlobPart]), name);
        const response = await fetch(`${server.url}/v1/documents`, { method: "POST", body: form });
        await expectDocumented(response, upload.operation, [settings, name]);
      }),
      { numRuns: RUNS, seed: 5 },
    );
  }, 3_600_000);

  it("tells as a problem what is no request", async () => {
    const { port, hostname } = new URL(server.url);
    const answers: [string, number][] = [
      [`GET /v1/runs/%ff/report HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n\r\n`, 400],
      [`GET /${"x".repeat(20_000)} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`, 431],
      ["远山\r\n\r\n", 400],
    ];
    for (const [text, status] of answers) {
      const answer = await new Promise<string>((done) => {
        let read = "";
        const socket = connect(Number(port), hostname, () => socket.write(text));
        socket.on("data", (chunk) => {
          read += chunk;
        });
        socket.on("close", () => done(read));
      });
      expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(answer.toLowerCase()).toContain("content-type: application/problem+json");
      expect(JSON.parse(answer.slice(answer.indexOf("{")))).toMatchObject({ status, detail: expect.any(String) });
    }
  });

  it("outlives clients that go away, write half a request, or come all at once", async () => {
    const { port, hostname } = new URL(server.url);
    const example = { sentence: "远山收购近水的股份", head: "远山", tail: "近水" };
    const body = JSON.stringify({ examples: new Array(200).fill(example) });
    const head = `POST /v1/extract HTTP/1.1\r\nhost: ${hostname}\r\ncontent-type: application/json\r\n`;
    const sockets = [
      `${head}content-length: ${body.length}\r\n\r\n${body}`,
      `${head}content-length: 500\r\n\r\n{"examples`,
      "GET / HTT",
      "\r\n\0\r\n",
      head,
    ].map((text) => {
      const socket = connect(Number(port), hostname);
      socket.on("error", () => {});
      socket.write(text);
      return socket;
    });
    await sleep(100);
    for (const socket of sockets) socket.destroy();
    const statuses = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const controller = new AbortController();
        if (i % 4 === 0) setTimeout(() => controller.abort(), i);
        const response = await fetch(`${server.url}/v1/extract`, {
          ...{ method: "POST", headers: { "content-type": "application/json" }, signal: controller.signal },
          body: JSON.stringify({ examples: [example] }),
        }).catch(() => null);
        await response?.text().catch(() => "");
        return response?.status ?? 0;
      }),
    );
    expect(statuses.filter((status) => ![0, 200, 429, 503].includes(status))).toEqual([]);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(150);
    expect((await server.get("/ready")).status).toBe(200);
    await sleep(100);
    const metrics = await (await server.get("/metrics")).text();
    expect(metrics).toMatch(/^cre_open_requests 0$/m);
    expect(server.stderr()).not.toContain('"level":50');
  }, 60_000);
});
