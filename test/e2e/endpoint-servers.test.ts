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

// The embedded base model with the adapter of docs/demo, exported, on servers of others: llama.cpp's own, llama-cpp-python's, and vLLM's. Each is
// skipped where it is not installed (docs/endpoints.md says how it is).

const RUN = join(ROOT, "docs", "demo", "run");
const ROWS = 5;
const TOLERANCE = 1e-3;
/** Above this, every token of the best label is the most likely one. */
const CLEAR = 0.5;

interface Installed {
  name: string;
  python: string;
  /** What Python has to have. */
  module: string;
  /** What the run is exported to. */
  form: "gguf" | "hf";
  /** What Python is started with. */
  words(model: string, port: number): string[];
  ways: readonly { way: WayName | undefined; about: RegExp; hasProbabilities: boolean }[];
}

const SERVERS: readonly Installed[] = [
  {
    name: "llama.cpp's server (xllamacpp)",
    ...{ module: "xllamacpp", form: "gguf" },
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
    ...{ module: "llama_cpp.server", form: "gguf" },
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
  {
    name: "vLLM's server",
    ...{ module: "vllm", form: "hf" },
    python: process.env.CRE_VLLM_PYTHON ?? join(ROOT, "build", "vllm", "bin", "python"),
    words: (model, port) => [
      ...["-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", "run"],
      ...["--port", String(port), "--max-model-len", "512", "--generation-config", "vllm", "--dtype", "float32"],
      ...["--enforce-eager", "--gpu-memory-utilization", "0.1"],
    ],
    ways: [
      { way: undefined, about: /^label tree by logprob_token_ids$/, hasProbabilities: true },
      { way: "echo", about: /^every label's answer by echo$/, hasProbabilities: true },
      { way: "choice", about: /^one of the labels by structured_outputs$/, hasProbabilities: false },
      { way: "generate", about: /^free text, by completions$/, hasProbabilities: false },
    ],
  },
];

const isFast = hasFastBackend();
const installed = SERVERS.map(({ python, module }) => {
  const find = `import importlib.util as u, sys; sys.exit(u.find_spec("${module}") is None)`;
  return isFast && existsSync(python) && spawnSync(python, ["-c", find]).status === 0;
});
const temporary = temporaryFolder("endpoint-servers");
const folderOf = (form: string) => join(temporary.path, form);
const modelOf = (form: string) => (form === "gguf" ? join(folderOf(form), "run-F32.gguf") : folderOf(form));
let rows: Example[] = [];
let own: Extraction[] = [];
const running: ChildProcess[] = [];

beforeAll(async () => {
  if (!installed.includes(true)) return;
  useBestBackend();
  await buildCli();
  for (const form of new Set(SERVERS.flatMap(({ form }, i) => (installed[i] ? [form] : [])))) {
    const to = ["--to", form, "--type", "F32", "--no-measure", "--output", folderOf(form)];
    const made = await cre(["export", RUN, ...to]);
    expect(made.code, made.stderr).toBe(0);
  }
  const lines = readFileSync(join(ROOT, "demo", "test.jsonl"), "utf8").split("\n");
  rows = lines.slice(0, ROWS).map((line) => JSON.parse(line));
  const run = await openRun(RUN);
  own = await run.extractor.extract(rows);
  await run.close();
}, 240_000);
afterAll(() => {
  for (const one of running) one.kill();
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
async function started({ python, form, words }: Installed): Promise<string> {
  const port = await freePort();
  const child = spawn(python, words(modelOf(form), port), { stdio: ["ignore", "ignore", "pipe"] });
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
  if (!isInstalled) console.warn(`endpoint-servers.test.ts: ${name} is skipped, ${server.python} does not have it`);

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
    600_000,
  );
});
