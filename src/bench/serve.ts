import { Agent, request } from "node:http";
import { messageOf } from "../base/errors.ts";
import type { Example } from "../data/example.ts";

/** Requests of some clients, each with one example. */
export interface ServeSpeed {
  requests: number;
  /** Requests that were not answered with 200. */
  failed: number;
  rowsPerSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
}

/** Asks each example once, `clients` at a time, each client one request after another. */
export async function measureServing(
  url: string,
  run: string,
  examples: readonly Example[],
  clients: number,
): Promise<ServeSpeed> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const bodies = examples.map(({ sentence, head, tail, headSpan, tailSpan }) =>
    JSON.stringify({ run, examples: [{ sentence, head, tail, headSpan, tailSpan }] }),
  );
  const times: number[] = [];
  let failed = 0;
  let next = 0;
  const client = async () => {
    while (next < bodies.length) {
      const body = bodies[next++];
      const started = performance.now();
      if ((await post(`${url}/v1/extract`, body, agent)) !== 200) failed++;
      times.push(performance.now() - started);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - started) / 1000;
  agent.destroy();
  times.sort((a, b) => a - b);
  const share = (part: number) => times[Math.min(times.length - 1, Math.floor(part * times.length))];
  return {
    ...{ requests: examples.length, failed, rowsPerSecond: examples.length / seconds },
    ...{ p50Ms: share(0.5), p95Ms: share(0.95), p99Ms: share(0.99) },
  };
}

/** The status of a request, once its answer has been read. Throws for a connection that fails. */
function post(url: string, body: string, agent: Agent): Promise<number> {
  return new Promise((done, fail) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const asked = request(url, { method: "POST", agent, headers }, (response) => {
      response.resume();
      response.on("end", () => done(response.statusCode ?? 0));
      response.on("error", fail);
    });
    asked.on("error", (error) => fail(new Error(`${url}: ${messageOf(error)}`)));
    asked.end(body);
  });
}
