import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createRandom } from "../base/random.ts";
import { readApiKey } from "./api-key.ts";
import { createEndpointClient, type EndpointOptions, endpointUrl } from "./client.ts";

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A server that answers each request with the next handler; the last one remains. */
async function serve(
  ...handlers: Handler[]
): Promise<{ url: string; seen: { path: string; body: string; key: string }[] }> {
  const seen: { path: string; body: string; key: string }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      seen.push({ path: request.url ?? "", body, key: request.headers.authorization ?? "" });
      handlers[Math.min(seen.length, handlers.length) - 1](request, response, body);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  closing.push(
    () =>
      new Promise((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  );
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const json =
  (value: unknown, status = 200, headers: Record<string, string> = {}): Handler =>
  (_request, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  };

const ANSWER = { choices: [{ text: "收购" }], usage: { prompt_tokens: 12, completion_tokens: 3 } };
const client = (url: string, options: Partial<EndpointOptions> = {}) =>
  createEndpointClient({ url, model: "m", backoffMs: 1, attempts: 4, random: createRandom(1), ...options });

async function folder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "cre-endpoint-"));
  closing.push(() => rm(directory, { recursive: true }));
  return directory;
}

describe("a client of a server", () => {
  it("adds the model and the key, and counts requests and tokens", async () => {
    const { url, seen } = await serve(json(ANSWER));
    const one = await client(url, { apiKey: "secret" });
    expect(await one.ask("completions", { prompt: [1, 2] })).toEqual({
      ...{ body: ANSWER, promptTokens: 12, answerTokens: 3, isCached: false, lostAttempts: 0 },
    });
    expect(seen).toEqual([{ path: "/v1/completions", body: '{"model":"m","prompt":[1,2]}', key: "Bearer secret" }]);
    expect(one.counts).toEqual({ requests: 1, retries: 0, cacheHits: 0, promptTokens: 12, answerTokens: 3 });
  });

  it("repeats what passes: 500, a broken connection, a cut answer, 429 with its time", async () => {
    const cut: Handler = (_request, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("{");
      setTimeout(() => response.destroy(), 5);
    };
    const { url, seen } = await serve(
      json({}, 500),
      (request) => request.socket.destroy(),
      cut,
      json({}, 429, { "retry-after": "0.15" }),
      json(ANSWER),
    );
    const one = await client(url, { attempts: 5 });
    const started = performance.now();
    expect(await one.ask("completions", {})).toMatchObject({ lostAttempts: 3 });
    expect(performance.now() - started).toBeGreaterThan(140);
    expect(seen).toHaveLength(5);
    expect(one.counts).toMatchObject({ requests: 1, retries: 4 });
  });

  it("gives up after its attempts, and a slow server has its time", async () => {
    const { url, seen } = await serve(() => {});
    const one = await client(url, { timeoutMs: 300, attempts: 2 });
    await expect(one.ask("completions", {})).rejects.toThrow(`${url}/v1: no answer in 0.3 s (2 attempts).`);
    expect(seen).toHaveLength(2);
  });

  const refused: [string, Handler, string | RegExp][] = [
    ["401", json({ error: { message: "bad key secret" } }, 401), "the server refuses the API key (401)."],
    [
      "an unknown model",
      json({ error: { message: "The model `m` does not exist." } }, 404),
      'the server has no model "m" (The model `m` does not exist.).',
    ],
    ["another route", json({ detail: "Not Found" }, 404), "has no such route (404)."],
    ["a page", (_request, response) => response.end("<html>"), 'the answer is not JSON (it begins with "<html>").'],
    ["a list", json([1]), 'the answer is not JSON (it begins with "[1]").'],
    ["400", json({ error: { message: "logprobs:\n too many" } }, 400), "the server answers 400: logprobs: too many."],
    ["no credit", json({ error: { message: "no", code: "insufficient_quota" } }, 429), "the server answers 429: no."],
    ["a redirect", json({}, 302, { location: "http://other" }), "leads to http://other, expected the server itself."],
  ];
  it.each(refused)("refuses %s at once, without the key", async (_name, handler, message) => {
    const { url, seen } = await serve(handler);
    const one = await client(url, { apiKey: "secret-key" });
    const error = await one.ask("completions", {}).catch((reason: Error) => reason);
    expect((error as Error).message).toBe(`${url}/v1: ${message}`);
    expect(seen).toHaveLength(1);
  });

  it("reports soon that no server answers", async () => {
    const one = await client("http://127.0.0.1:9", { attempts: 9 });
    await expect(one.models()).rejects.toThrow(
      /^http:\/\/127\.0\.0\.1:9\/v1: (no server answers|the connection failed) \(.*\) \(3 attempts\)\.$/,
    );
  });

  it("asks at most `concurrency` questions at a time, and equal ones once", async () => {
    let running = 0;
    let most = 0;
    const { url, seen } = await serve((_request, response) => {
      most = Math.max(most, ++running);
      setTimeout(() => {
        running--;
        response.end(JSON.stringify(ANSWER));
      }, 5);
    });
    const one = await client(url, { concurrency: 3 });
    const questions = Array.from({ length: 24 }, (_, i) => one.ask("completions", { prompt: `${i % 12}` }));
    expect(await Promise.all(questions)).toHaveLength(24);
    expect(most).toBe(3);
    expect(seen).toHaveLength(12);
    expect(one.counts).toMatchObject({ requests: 12, cacheHits: 12, promptTokens: 144 });
  });

  it("keeps answers on the disk, and takes a damaged one for none", async () => {
    const { url, seen } = await serve(json(ANSWER));
    const cache = await folder();
    const ask = async () => (await client(url, { cache })).ask("completions", { prompt: "a" });
    await ask();
    expect(await ask()).toEqual({ body: ANSWER, promptTokens: 0, answerTokens: 0, isCached: true, lostAttempts: 0 });
    expect(seen).toHaveLength(1);
    const [name] = (await readdir(cache, { recursive: true })).filter((one) => one.endsWith(".json"));
    const file = join(cache, name);
    await writeFile(file, (await readFile(file, "utf8")).slice(0, -5));
    expect(await ask()).toMatchObject({ isCached: false });
    expect(await ask()).toMatchObject({ isCached: true });
    expect(seen).toHaveLength(2);
  });

  it("keeps no refusal, and a stop ends the pauses", async () => {
    const stop = new AbortController();
    const { url } = await serve(json({}, 503));
    const cache = await folder();
    const one = await client(url, { cache, backoffMs: 60_000, signal: stop.signal });
    const asked = one.ask("completions", {});
    setTimeout(() => stop.abort(new Error("stopped")), 20);
    await expect(asked).rejects.toThrow("stopped");
    expect(await readdir(cache)).toEqual([]);
  });

  it("reads addresses and keys", async () => {
    expect(endpointUrl("http://h:8000")).toBe("http://h:8000/v1");
    expect(endpointUrl("https://h/api/v3/")).toBe("https://h/api/v3");
    expect(() => endpointUrl("h:8000x")).toThrow('--endpoint: got "h:8000x", expected http:// or https://.');
    expect(() => endpointUrl("127.0.0.1")).toThrow("expected an address such as");
    expect(() => endpointUrl("http://u:p@h")).toThrow(/^--endpoint: has a user name or a password in it/);
    const file = join(await folder(), "key");
    await writeFile(file, "abc\n");
    expect(await readApiKey(file)).toBe("abc");
    await writeFile(file, "a b");
    await expect(readApiKey(file)).rejects.toThrow(`${file}: has spaces, line breaks or other than ASCII characters`);
    await writeFile(file, " ");
    await expect(readApiKey(file)).rejects.toThrow(`${file}: is empty, expected an API key.`);
  });
});
