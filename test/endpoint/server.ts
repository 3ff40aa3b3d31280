import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createRandom } from "../../src/base/random.ts";
import { labelProbabilities } from "../../src/decode/choose-label.ts";
import { generate } from "../../src/decode/generate.ts";
import { buildLabelTrie } from "../../src/decode/label-trie.ts";
import { scoreTokens } from "../../src/decode/score-tokens.ts";
import type { Run } from "../../src/runs/run.ts";
import { encodePlain } from "../../src/tokenizers/tokenizer.ts";

// A server like vLLM's on the real logits of a run's model, and a proxy that breaks in all ways that networks do.

/** What a server has; what is left out is ignored as other servers ignore it, ids of prompts are refused. */
export interface Abilities {
  ids?: boolean;
  named?: boolean;
  allowed?: boolean;
  echo?: boolean;
  choice?: boolean;
  chat?: boolean;
  /** Any number of probabilities by the texts of tokens, and `echo` of a text, as llama-cpp-python's server has them. */
  texts?: boolean;
}

export interface TestServer {
  url: string;
  /** Bodies of the requests that were answered, in their order. */
  requests: Record<string, unknown>[];
  close(): Promise<void>;
}

const MODEL = "tiny";

async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((done, fail) => {
    server.once("error", fail);
    server.listen(port, "127.0.0.1", done);
  });
  return (server.address() as AddressInfo).port;
}

const end = (server: Server) =>
  new Promise<void>((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}

function send(response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(value));
}

/** Starts a server on a run's model; the run stays the caller's. */
export async function vllmLike({ model, tokenizer, renderer }: Run, has: Abilities): Promise<TestServer> {
  const requests: Record<string, unknown>[] = [];
  // One pass at a time, as on a GPU.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  };
  const tops = async (ids: number[]) => {
    const [, scored] = [
      0,
      await scoreTokens(model, [...ids, ids[0]], { from: ids.length, top: model.spec.tokenCount, promptTokens: 0 }),
    ];
    return scored[0].top;
  };
  const before = encodePlain(tokenizer, "公司");
  const nameOf = (id: number) => tokenizer.decode([...before, id]).slice(tokenizer.decode(before).length);
  const byTexts = async (ids: number[], { echo, logprobs }: Record<string, unknown>) => {
    const all = await tops(ids);
    const top = Object.fromEntries(
      all.slice(0, Number(logprobs)).map(({ id, logProbability }) => [nameOf(id), logProbability]),
    );
    if (!echo) return { text: "", logprobs: { top_logprobs: [top] } };
    const scored = await scoreTokens(model, [...ids, all[0].id], { from: 0, top: 0, promptTokens: 0 });
    const scores = scored.map(({ logProbability }) => logProbability);
    // Without the begin token, with the token that was made.
    return { text: "", logprobs: { token_logprobs: scores.slice(scores.length - ids.length) } };
  };
  const textOf = (prompt: number[], max: number) =>
    generate(model, [prompt], { maxNewTokens: max, eosId: renderer.eosId }).then(([one]) => one);

  const chosen = async (promptIds: number[], texts: string[]) => {
    const trie = buildLabelTrie(texts.map((text) => ({ label: text, ids: renderer.encodeText(text) })));
    const [probabilities] = await labelProbabilities(model, [{ promptIds, trie }]);
    return texts[probabilities.indexOf(Math.max(...probabilities))];
  };

  const answer = async (ids: number[], body: Record<string, unknown>) => {
    const choice = (body.structured_outputs as { choice?: string[] } | undefined)?.choice;
    if (has.choice && choice) return { text: await chosen(ids, choice), finish_reason: "stop" };
    if (has.texts && body.logprobs !== undefined) return byTexts(ids, body);
    if (has.echo && body.echo) {
      const scored = await scoreTokens(model, ids, { from: 0, top: 0, promptTokens: 0 });
      return { text: "", logprobs: { token_logprobs: scored.map(({ logProbability }) => logProbability) } };
    }
    if (body.logprobs === undefined) {
      const { ids: made, ended } = await textOf(ids, Number(body.max_tokens));
      return { text: tokenizer.decode(made), finish_reason: ended ? "stop" : "length" };
    }
    const all = await tops(ids);
    const allowed = has.allowed ? (body.allowed_token_ids as number[] | undefined) : undefined;
    const sampled = all.find(({ id }) => !allowed || allowed.includes(id));
    const named = has.named ? (body.logprob_token_ids as number[] | undefined) : undefined;
    const told = named ? all.filter(({ id }) => named.includes(id)) : all.slice(0, Number(body.logprobs));
    const top = new Map([sampled, ...told].map((one) => [`token_id:${one?.id}`, one?.logProbability]));
    return { text: "", finish_reason: "length", logprobs: { top_logprobs: [Object.fromEntries(top)] } };
  };

  /** The end token is found in a text, as llama-cpp-python finds it. */
  const withEnd = (text: string): number[] => {
    const end = tokenizer.pieceOf(renderer.eosId);
    if (!has.texts || !text.endsWith(end)) return encodePlain(tokenizer, text);
    return [...encodePlain(tokenizer, text.slice(0, -end.length)), renderer.eosId];
  };
  const server = createServer(async (request, response) => {
    if (request.url === "/v1/models")
      return send(response, 200, { data: [{ id: MODEL, max_model_len: model.spec.maxTokens }] });
    const body = JSON.parse(await bodyOf(request)) as Record<string, unknown>;
    const isChat = request.url === "/v1/chat/completions";
    if (isChat && !has.chat) return send(response, 404, { detail: "Not Found" });
    const prompts = isChat
      ? [renderer.encodeQuery((body.messages as { content: string }[])[0].content)]
      : promptsOf(body.prompt, (text) => [tokenizer.bosId as number, ...withEnd(text)]);
    if (!isChat && typeof body.prompt !== "string" && !has.ids)
      return send(response, 400, { error: { message: "prompt: expected a string" } });
    const answers = await inTurn(() => Promise.all(prompts.map((ids) => answer(ids, body))));
    requests.push(body);
    const usage = {
      prompt_tokens: prompts.reduce((sum, ids) => sum + ids.length, 0),
      completion_tokens: prompts.length,
    };
    const choices = answers.map((one, index) => {
      return { index, ...(isChat ? { message: { role: "assistant", content: one.text } } : {}), ...one };
    });
    return send(response, 200, { choices, usage });
  });
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}`, requests, close: () => end(server) };
}

function promptsOf(prompt: unknown, encode: (text: string) => number[]): number[][] {
  if (typeof prompt === "string") return [encode(prompt)];
  const list = prompt as number[] | number[][];
  return typeof list[0] === "number" ? [list as number[]] : (list as number[][]);
}

/**
 * A proxy that fails a tenth of all requests in several ways, delays some, and is gone for a while after `diesAfter` requests. Its `requests` are
 * those that the server behind it answered.
 */
export async function brokenProxy(target: string, diesAfter: number): Promise<TestServer & { failed(): number }> {
  const random = createRandom(7);
  const requests: Record<string, unknown>[] = [];
  let seen = 0;
  let failed = 0;
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await bodyOf(request);
    const dice = random.uniform();
    const isModels = request.url === "/v1/models";
    if (!isModels && ++seen === diesAfter) {
      failed++;
      await end(server);
      await sleep(400);
      server = createServer(handle);
      await listen(server, port);
      return;
    }
    if (!isModels && dice < 0.1) {
      failed++;
      if (dice < 0.03) return request.socket.destroy();
      if (dice < 0.06) return send(response, 503, { error: { message: "overloaded" } });
      if (dice < 0.08) return send(response, 429, { error: { message: "slow down" } }, { "retry-after": "0.05" });
      response.writeHead(200, { "content-length": "500" });
      response.write('{"choices": [');
      return void setTimeout(() => response.destroy(), 5);
    }
    if (dice > 0.9) await sleep(30 * random.uniform());
    const method = request.method ?? "GET";
    try {
      const headers = { "content-type": "application/json" };
      const sent = method === "GET" ? {} : { headers, body };
      const answer = await fetch(target + request.url, { method, ...sent });
      if (method === "POST" && answer.ok) requests.push(JSON.parse(body));
      response.writeHead(answer.status, { "content-type": "application/json" });
      response.end(await answer.text());
    } catch {
      response.destroy();
    }
  };
  let server = createServer(handle);
  const port = await listen(server);
  return { url: `http://127.0.0.1:${port}`, requests, failed: () => failed, close: () => end(server) };
}
