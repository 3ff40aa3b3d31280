import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasFastBackend } from "../../src/compute/open.ts";
import type { Example } from "../../src/data/example.ts";
import { createEndpointClient } from "../../src/endpoint/client.ts";
import { openEndpoint } from "../../src/endpoint/open-endpoint.ts";
import type { WayName } from "../../src/endpoint/ways.ts";
import type { Extraction } from "../../src/extract/extractor.ts";
import { openRun } from "../../src/runs/run.ts";
import { buildCli, cre, ROOT, temporaryFolder, useBestBackend } from "./support.ts";

// The embedded base model with the adapter of docs/demo, exported to GGUF, on servers of others: llama.cpp's own, and llama-cpp-python's. Each is
// skipped where it is not installed.

const RUN = join(ROOT, "docs", "demo", "run");
const ROWS = 5;
const TOLERANCE = 1e-3;
/** Above this, every token of the best label is the most likely one. */
const CLEAR = 0.5;

interface Installed {
  name: string;
  python: string;
  /** What Python is started with. */
  words(model: string, port: number): string[];
  /** Where it says so itself, its address. */
  ways: readonly { way: WayName | undefined; about: RegExp; hasProbabilities: boolean }[];
}

const SERVERS: readonly Installed[] = [
  {
    name: "llama.cpp's server (xllamacpp)",
    python: process.env.CRE_LLAMA_SERVER_PYTHON ?? join(ROOT, "build", "llama-server", "bin", "python"),
    words: (model, port) => [join(ROOT, "test", "llama-server", "serve.py"), model, String(port)],
    ways: [
      { way: undefined, about: /^label tree by logit_bias$/, hasProbabilities: true },
      { way: "choice", about: /^one of the labels by grammar$/, hasProbabilities: false },
      { way: "generate", about: /^free text, by completions$/, hasProbabilities: false },
    ],
  },
  {
    name: "llama-cpp-python's server",
    python: process.env.CRE_LLAMA_CPP_PYTHON ?? join(ROOT, "build", "llama-cpp-python", "bin", "python"),
    words: (model, port) => [
      ...["-m", "llama_cpp.server", "--model", model, "--model_alias", "run", "--port", String(port)],
      // Scores of all places, and keys and values in float32 (ggml's type 0).
      ...["--logits_all", "true", "--n_ctx", "512", "--n_threads", "1", "--type_k", "0", "--type_v", "0"],
    ],
    ways: [
      { way: undefined, about: /^label tree by logprobs of texts$/, hasProbabilities: true },
      { way: "echo", about: /^every label's answer by echo of texts$/, hasProbabilities: true },
      { way: "choice", about: /^one of the labels by grammar$/, hasProbabilities: false },
      { way: "generate", about: /^free text, by completions$/, hasProbabilities: false },
    ],
  },
];

const isFast = hasFastBackend();
const MODULES = ["xllamacpp", "llama_cpp.server"];
const installed = SERVERS.map(({ python }, i) => {
  return isFast && existsSync(python) && spawnSync(python, ["-c", `import ${MODULES[i]}`]).status === 0;
});
const temporary = temporaryFolder("endpoint-llama");
const model = join(temporary.path, "run-F32.gguf");
let rows: Example[] = [];
let own: Extraction[] = [];
const running: ChildProcess[] = [];

beforeAll(async () => {
  if (!installed.includes(true)) return;
  useBestBackend();
  await buildCli();
  const made = await cre(["export", RUN, "--to", "gguf", "--type", "F32", "--no-measure", "--output", temporary.path]);
  expect(made.code, made.stderr).toBe(0);
  const lines = readFileSync(join(ROOT, "demo", "test.jsonl"), "utf8").split("\n");
  rows = lines.slice(0, ROWS).map((line) => JSON.parse(line));
  const run = await openRun(RUN);
  own = await run.extractor.extract(rows);
  await run.close();
}, 240_000);
afterAll(() => {
  for (const one of running) one.kill("SIGKILL");
  temporary.remove();
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts a server and waits until it lists its model. */
async function started({ python, words }: Installed): Promise<string> {
  const port = await freePort();
  const child = spawn(python, words(model, port), { stdio: ["ignore", "ignore", "pipe"] });
  running.push(child);
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000);
  });
  const url = `http://127.0.0.1:${port}`;
  for (;;) {
    const answer = await fetch(`${url}/v1/models`).catch(() => null);
    if (answer?.ok) return url;
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}: ${said}`);
    await sleep(100);
  }
}

describe.each(SERVERS.map((one, i) => [one.name, one, installed[i]] as const))("%s", (name, server, isInstalled) => {
  if (!isInstalled) console.warn(`endpoint-llama.test.ts: ${name} is skipped, ${server.python} does not have it`);

  it.skipIf(!isInstalled)(
    "gives the probabilities of this process, and one of the labels by a grammar",
    async () => {
      const url = await started(server);
      for (const { way, about, hasProbabilities } of server.ways) {
        const client = await createEndpointClient({ url, model: "run", concurrency: 2 });
        const { extractor, endpoint } = await openEndpoint(client, { run: RUN, shots: null, way });
        expect(endpoint().about).toMatch(about);
        const theirs = await extractor.extract(rows);
        for (const [i, { modelProbabilities, probabilities, predictions }] of own.entries()) {
          const other = theirs[i];
          if (!hasProbabilities) {
            if (Math.max(...modelProbabilities) < CLEAR) continue;
            const best = extractor.labels.labels[modelProbabilities.indexOf(Math.max(...modelProbabilities))];
            expect(other.predictions.map(({ relation }) => relation)).toEqual([best]);
            continue;
          }
          expect(other.predictions.map(({ relation }) => relation)).toEqual(
            predictions.map(({ relation }) => relation),
          );
          for (const [all, given] of [
            [modelProbabilities, other.modelProbabilities],
            [probabilities, other.probabilities],
          ]) {
            const off = Array.from(all, (value, j) => Math.abs(value - given[j]));
            expect(Math.max(...off), `${about} row ${i}`).toBeLessThan(TOLERANCE);
          }
        }
        client.close();
      }
    },
    240_000,
  );
});
