import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { hasFastBackend } from "../../src/compute/open.ts";
import type { Example } from "../../src/data/example.ts";
import { createEndpointClient } from "../../src/endpoint/client.ts";
import { openEndpoint } from "../../src/endpoint/open-endpoint.ts";
import { openRun, type Run } from "../../src/runs/run.ts";
import { type Serving, serving } from "./serving.ts";
import { buildCli, cre, ROOT, temporaryFolder, useBestBackend } from "./support.ts";

// The embedded base model and the demonstration set, on `cre serve`: every way that scores labels has the probabilities of this process.

const ROWS = 6;
const TOLERANCE = 1e-3;
/** Some steps on some rows: the adapter takes part. */
const SETTINGS = ["train.epochs=0.05", "train.validationRows=20", "decode.companion=none", "precision=float32"];
const isFast = hasFastBackend();
if (!isFast) console.warn("skipped: the embedded base model on a server needs the native or the WebAssembly backend");
const temporary = temporaryFolder("endpoint-demo");
const file = (...names: string[]) => join(temporary.path, ...names);
let run: Run | undefined;
let server: Serving | undefined;

beforeAll(async () => {
  if (!isFast) return;
  useBestBackend();
  await buildCli();
  const recipe = join(ROOT, "recipes", "demo.yaml");
  const trained = await cre(["train", recipe, "--run", file("demo"), ...SETTINGS.flatMap((one) => ["--set", one])]);
  expect(trained.code, trained.stderr).toBe(0);
  run = await openRun(file("demo"));
  server = await serving([file("demo"), "--log", "error"], { CRE_BACKEND: "" });
}, 600_000);
afterAll(async () => {
  await server?.end();
  await run?.close();
  temporary.remove();
});

it.skipIf(!isFast)(
  "has the probabilities of this process, by choice, by the label tree and by echo",
  async () => {
    const { extractor } = run as Run;
    const { url } = server as Serving;
    const lines = readFileSync(join(ROOT, "demo", "test.jsonl"), "utf8")
      .split("\n")
      .slice(0, ROWS);
    const rows = lines.map((line) => JSON.parse(line) as Example);
    const own = await extractor.extract(rows);
    for (const way of ["choice", "tree", "echo"] as const) {
      const client = await createEndpointClient({ url, model: "demo" });
      const opened = await openEndpoint(client, { run: file("demo"), shots: null, way });
      expect(opened.endpoint()).toMatchObject({ way, hasProbabilities: true });
      const theirs = await opened.extractor.extract(rows);
      const differences = own.flatMap(({ probabilities }, i) => {
        return Array.from(probabilities, (value, j) => Math.abs(value - theirs[i].probabilities[j]));
      });
      expect(Math.max(...differences), way).toBeLessThan(TOLERANCE);
      client.close();
    }
  },
  600_000,
);
