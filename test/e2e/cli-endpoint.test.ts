import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../src/base/random.ts";
import { createEndpointClient } from "../../src/endpoint/client.ts";
import { openEndpoint } from "../../src/endpoint/open-endpoint.ts";
import type { WayName } from "../../src/endpoint/ways.ts";
import { openRun, type Run } from "../../src/runs/run.ts";
import { type Abilities, brokenProxy, type TestServer, vllmLike } from "../endpoint/server.ts";
import { writeToyBase, writeToyLora } from "../toy-runs.ts";
import { type Serving, serving } from "./serving.ts";
import { buildCli, cre, jsonl, temporaryFolder, toyRows, writeToyData } from "./support.ts";

// Models on servers: one like vLLM's, our own, and ones that fail.

const temporary = temporaryFolder("cli-endpoint");
const file = (...names: string[]) => join(temporary.path, ...names);
const ALL: Abilities = { ids: true, named: true, allowed: true, echo: true, choice: true, chat: true };
const open: TestServer[] = [];
const TOLERANCE = 1e-3;
let run: Run;

async function server(has: Abilities): Promise<TestServer> {
  const one = await vllmLike(run, has);
  open.push(one);
  return one;
}

const clientOf = (url: string) => createEndpointClient({ url, model: "tiny", backoffMs: 20, random: createRandom(3) });

beforeAll(async () => {
  await buildCli();
  const base = await writeToyBase(file("base"));
  const data = writeToyData(file("data"));
  const decode = { companion: 0.3, bothDirections: true };
  const trained = await cre(["train", writeToyLora(file("toy.yaml"), data, base, { decode }), "--run", file("toy")]);
  expect(trained.code, trained.stderr).toBe(0);
  process.env.CRE_BACKEND = "reference";
  run = await openRun(file("toy"));
}, 300_000);
afterAll(async () => {
  for (const one of open) await one.close();
  await run?.close();
  temporary.remove();
});

/** Compares label probabilities with those of the model in this process. */
async function expectLocal(
  url: string,
  has: { way: WayName; about: RegExp; isGiven?: boolean },
  count = 12,
): Promise<void> {
  const client = await clientOf(url);
  const given = has.isGiven ? has.way : undefined;
  const { extractor, endpoint } = await openEndpoint(client, { run: file("toy"), shots: null, way: given });
  expect(endpoint()).toMatchObject({ way: has.way, hasProbabilities: true });
  expect(endpoint().about).toMatch(has.about);
  const rows = toyRows(count, 21);
  const [own, theirs] = [await run.extractor.extract(rows), await extractor.extract(rows)];
  for (const [i, { probabilities, predictions }] of own.entries()) {
    expect(theirs[i].predictions[0].relation).toBe(predictions[0].relation);
    const off = probabilities.map((value, j) => Math.abs(value - theirs[i].probabilities[j]));
    expect(Math.max(...off)).toBeLessThan(TOLERANCE);
  }
  client.close();
}

describe("ways of asking", () => {
  it("have the probabilities of the model in this process, wherever tokens are scored", async () => {
    const { url } = await server(ALL);
    await expectLocal(url, { way: "tree", about: /logprob_token_ids/ });
    const older = await server({ ...ALL, named: false });
    await expectLocal(older.url, { way: "tree", about: /allowed_token_ids/ });
    const plain = await server({ ids: true, echo: true, chat: true });
    await expectLocal(plain.url, { way: "echo", about: /echo/ });
    const texts = await server({ texts: true });
    await expectLocal(texts.url, { way: "tree", about: /logprobs of texts/ }, 2);
    await expectLocal(texts.url, { way: "echo", about: /echo of texts/, isGiven: true }, 1);
  }, 180_000);

  it("ask once for each node of the label tree, and not once for each label", async () => {
    const { url, requests } = await server(ALL);
    const client = await clientOf(url);
    const { extractor } = await openEndpoint(client, { run: file("toy"), shots: null });
    const trials = requests.length;
    await extractor.extract(toyRows(1, 5));
    const asked = requests.slice(trials);
    // Two directions, and in each at most one node for each label but one.
    expect(asked.length).toBeLessThanOrEqual(6);
    for (const { max_tokens, logprob_token_ids } of asked) {
      expect(max_tokens).toBe(1);
      expect((logprob_token_ids as number[]).length).toBeGreaterThan(0);
    }
    client.close();
  });

  it("give texts without probabilities where the server scores nothing", async () => {
    for (const [has, way] of [
      [{ choice: true, chat: true }, "choice"],
      [{ chat: true }, "generate"],
      [{}, "generate"],
    ] as const) {
      const { url } = await server(has);
      writeFileSync(file("few.jsonl"), jsonl(toyRows(3, 9)));
      const options = ["--endpoint", url, "--model", "tiny", "--labels", file("data"), "--answer-tokens", "12"];
      const { code, stdout, stderr } = await cre(["extract", file("few.jsonl"), ...options, "--shots", "0"]);
      expect(code, stderr).toBe(0);
      expect(stderr).toMatch(way === "choice" ? /one of the labels by structured_outputs/ : /free text/);
      expect(stderr).toContain("(no probabilities)");
      for (const line of stdout.trim().split("\n")) {
        const { predictions, generated } = JSON.parse(line);
        expect(typeof generated).toBe("string");
        if (way === "choice") expect(predictions).toEqual([{ relation: generated }]);
      }
    }
  });
});

describe("a network that fails", () => {
  it("loses no row, changes none, and pays for none twice", async () => {
    const behind = await server(ALL);
    const proxy = await brokenProxy(behind.url, 60);
    open.push(proxy);
    const client = await clientOf(proxy.url);
    const { extractor } = await openEndpoint(client, { run: file("toy"), shots: null });
    const rows = toyRows(100, 33);
    const [own, theirs] = [await run.extractor.extract(rows), await extractor.extract(rows)];
    for (const [i, { probabilities }] of own.entries()) {
      const off = probabilities.map((value, j) => Math.abs(value - theirs[i].probabilities[j]));
      expect(Math.max(...off)).toBeLessThan(TOLERANCE);
    }
    expect(proxy.failed()).toBeGreaterThan(10);
    // Those that were in progress as the proxy died may be answered behind it without anybody hearing.
    const bodies = behind.requests.map((body) => JSON.stringify(body));
    expect(bodies.length - new Set(bodies).size).toBeLessThanOrEqual(8);
    expect(client.counts.requests).toBe(new Set(bodies).size + 1);
    client.close();
  }, 120_000);

  it("resumes after kill -9 without asking again, with the output of one call", async () => {
    const behind = await server(ALL);
    writeFileSync(file("rows.jsonl"), jsonl(toyRows(60, 41)));
    const of = (output: string) => [
      ...["extract", file("toy"), file("rows.jsonl"), "--output", file(output)],
      ...["--endpoint", behind.url, "--model", "tiny", "--concurrency", "4"],
    ];
    const whole = await cre(of("whole.jsonl"));
    expect(whole.code, whole.stderr).toBe(0);
    const asked = behind.requests.length;
    const killed = await cre(of("cut.jsonl"), {
      kill: { when: () => behind.requests.length > asked + 40, signal: "SIGKILL" },
    });
    expect(killed.signal).toBe("SIGKILL");
    const resumed = await cre(of("cut.jsonl"));
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(readFileSync(file("cut.jsonl"), "utf8")).toBe(readFileSync(file("whole.jsonl"), "utf8"));
    expect(resumed.stderr).toMatch(/\d+ answers from the cache/);
    // At most those in progress at the kill were asked twice.
    expect(behind.requests.length - asked).toBeLessThanOrEqual(asked + 4);
  }, 120_000);
});

describe("cre serve as the server", () => {
  let ours: Serving;
  beforeAll(async () => {
    ours = await serving([file("toy")]);
  }, 120_000);
  afterAll(() => ours?.end());

  it("gives the numbers of the run, by choice, by the label tree and by echo", async () => {
    const client = await createEndpointClient({ url: ours.url, model: "toy" });
    const rows = toyRows(8, 51);
    const own = await run.extractor.extract(rows);
    for (const [way, about] of [
      [undefined, /structured_outputs, with probabilities/],
      ["tree", /by logprob_token_ids/],
      ["echo", /by echo/],
    ] as const) {
      const { extractor, endpoint } = await openEndpoint(client, { run: file("toy"), shots: null, way });
      expect(endpoint().about).toMatch(about);
      const theirs = await extractor.extract(rows);
      for (const [i, { probabilities }] of own.entries()) {
        const off = probabilities.map((value, j) => Math.abs(value - theirs[i].probabilities[j]));
        expect(Math.max(...off)).toBeLessThan(TOLERANCE);
      }
    }
    client.close();
  }, 120_000);

  it("is evaluated by the same metric, with its way and its cost in the report", async () => {
    const local = await cre(["evaluate", file("toy"), "--json", "-"]);
    const command = ["evaluate", file("toy"), "--endpoint", ours.url, "--model", "toy", "--report", file("report")];
    const remote = await cre([...command, "--json", "-"]);
    expect(remote.code, remote.stderr).toBe(0);
    const [{ conventions }, theirs] = [JSON.parse(local.stdout), JSON.parse(remote.stdout)];
    expect(theirs.conventions).toEqual(conventions);
    expect(theirs.endpoint).toMatchObject({
      url: `${ours.url}/v1`,
      model: "toy",
      way: "choice",
      hasProbabilities: true,
    });
    expect(theirs.endpoint.requests).toBeGreaterThanOrEqual(16);
    expect(theirs.endpoint.promptTokens).toBeGreaterThan(100);
    expect(JSON.parse(readFileSync(file("report", "metrics.json"), "utf8")).endpoint.way).toBe("choice");
    expect(readFileSync(file("report", "report.html"), "utf8")).toContain("with probabilities; ");
    const again = await cre(command);
    expect(again.stderr).toMatch(
      /; 1 requests; 0 prompt tokens and 0 answer tokens by the server's count; \d+ answers from the cache/,
    );
  }, 120_000);

  it("is asked with examples of the training rows, and never those of the row's own sentence", async () => {
    const flags = ["--endpoint", ours.url, "--model", "toy", "--data", file("data"), "--split", "train"];
    const { code, stderr } = await cre(["evaluate", ...flags, "--shots", "1", "--shots-by", "random"]);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("1 training rows shown (random)");
  }, 120_000);

  it("is refused in one line for what cannot be", async () => {
    const at = ["--endpoint", ours.url];
    const plain = await server({ chat: true });
    const mistakes: [string[], string | RegExp][] = [
      [["evaluate", file("toy"), ...at], "--endpoint: needs --model NAME, the model's name at the server."],
      [["evaluate", file("toy"), ...at, "--model", "toi"], "has no such model, did you mean toy?"],
      [["evaluate", file("toy"), "--model", "toy"], "--model: goes with --endpoint only."],
      [["evaluate", file("toy"), "--shots", "2"], "--shots: goes with --endpoint only."],
      [["evaluate", ...at, "--model", "toy"], "needs the labels that it answers with: --labels FILE."],
      [["evaluate", file("toy"), ...at, "--model", "toy", "--joint"], "got --joint or --all-pairs"],
      [["evaluate", file("toy"), ...at, "--model", "toy", "--method", "labels"], "got --method, which is for a model"],
      [
        ["evaluate", file("toy"), "--endpoint", plain.url, "--model", "tiny", "--way", "tree"],
        /--way tree: .* does not have it\./,
      ],
      [
        ["evaluate", ...at, "--model", "toy", "--way", "echo", "--data", file("data")],
        "--way echo: needs the model's tokenizer.",
      ],
      [
        ["evaluate", file("toy"), ...at, "--model", "toy", "--shots-by", "random"],
        "--shots-by: goes with --shots only.",
      ],
      [["evaluate", "--endpoint", "http://127.0.0.1:9", "--model", "a", "--data", file("data")], /\(3 attempts\)\./],
    ];
    for (const [command, message] of mistakes) {
      const { code, stderr } = await cre(command);
      expect([code, stderr], command.join(" ")).toEqual([1, expect.stringMatching(message)]);
      expect(stderr.trim().split("\n").length, stderr).toBeLessThanOrEqual(2);
    }
  }, 120_000);
});
