import { spawn } from "node:child_process";
import { once } from "node:events";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { plainTable } from "../base/plain-table.ts";
import { measureServing, type ServeSpeed } from "../bench/serve.ts";
import { median } from "../bench/train-step.ts";
import { openDataset } from "../data/dataset.ts";
import type { Example } from "../data/example.ts";
import type { SplitName } from "../data/split.ts";
import { openRun } from "../runs/run.ts";
import { showLoading } from "./loading.ts";
import { parseCount, wholeNumber } from "./options.ts";
import { readSplit } from "./splits.ts";
import { print, progress, warn } from "./terminal.ts";

interface ServeFlags {
  data?: string;
  split: SplitName;
  rows: number;
  clients: number;
  rounds: number;
  json?: boolean;
}

const PROGRAM = fileURLToPath(new URL("../cli.js", import.meta.url));
/** Requests of a client that is alone. */
const ALONE = 50;

export function addBenchServeCommand(bench: Command): void {
  bench
    .command("serve")
    .description(
      "cre serve with a run: time to the first answer, latency alone and under load, rows/s against cre extract",
    )
    .argument("<run>", "run folder")
    .option("--data <dir>", "data folder (default: the one that the run was trained on)")
    .addOption(new Option("--split <name>", "which split").choices(["train", "valid", "test"]).default("test"))
    .option("--rows <n>", "rows to ask at most", wholeNumber, 512)
    .option("--clients <n>", "clients that ask at the same time", parseCount, 64)
    .option("--rounds <n>", "rounds, of which the median counts", parseCount, 3)
    .option("--json", "print JSON")
    .action(benchServe);
}

async function benchServe(directory: string, options: ServeFlags): Promise<void> {
  const run = await openRun(directory, { onNotice: warn, onLoad: showLoading() });
  try {
    const { recipe, labels, extractor } = run;
    const path = options.data ?? recipe.data.path;
    if (path === undefined) throw new UserError(`${directory}: does not know where its data is: give --data DIR.`);
    const dataset = await openDataset(path, { format: recipe.data.format, labels, normalize: recipe.data.normalize });
    const examples = (await readSplit(dataset, options.split, recipe.data.badRows)).slice(0, options.rows);
    if (examples.length === 0) throw new UserError(`${path}: its ${options.split} split has no rows to ask.`);
    const extracted = async () => {
      const started = performance.now();
      await extractor.extractEach(examples);
      return (1000 * examples.length) / (performance.now() - started);
    };
    const measured = await measure(directory, examples, options, extracted);
    if (options.json) {
      return print(`${JSON.stringify({ run: directory, backend: extractor.arithmetic, ...measured })}\n`);
    }
    await print(tableOf(measured, options.clients));
  } finally {
    await run.close();
  }
}

interface Measured {
  firstAnswerMs: number;
  alone: ServeSpeed;
  together: ServeSpeed;
  extractRowsPerSecond: number;
  /** rows/s of the server against those of cre extract: the median of the rounds, which take turns. */
  ratio: number;
}

async function measure(
  directory: string,
  examples: readonly Example[],
  { clients, rounds }: ServeFlags,
  extracted: () => Promise<number>,
): Promise<Measured> {
  const started = performance.now();
  const command = [PROGRAM, "serve", `run=${resolve(directory)}`, "--port", "0", "--log", "error"];
  const server = spawn(process.execPath, command, { stdio: ["ignore", "ignore", "pipe"] });
  const bar = progress("round", rounds + 1);
  try {
    const url = await addressOf(server.stderr, server);
    const first = await measureServing(url, "run", examples.slice(0, 1), 1);
    if (first.failed > 0) throw new UserError(`${basename(directory)}: the server does not answer its rows.`);
    const firstAnswerMs = performance.now() - started;
    await extracted();
    await measureServing(url, "run", examples, clients);
    bar.update(1);
    const alone = await measureServing(url, "run", repeated(examples, ALONE), 1);
    const speeds: ServeSpeed[] = [];
    const rates: number[] = [];
    for (let round = 0; round < rounds; round++) {
      rates.push(await extracted());
      speeds.push(await measureServing(url, "run", examples, clients));
      bar.update(round + 2);
    }
    const middle = (key: keyof ServeSpeed) => median(speeds.map((speed) => speed[key]));
    const together: ServeSpeed = {
      ...{ requests: examples.length, failed: speeds.reduce((sum, { failed }) => sum + failed, 0) },
      ...{
        rowsPerSecond: middle("rowsPerSecond"),
        p50Ms: middle("p50Ms"),
        p95Ms: middle("p95Ms"),
        p99Ms: middle("p99Ms"),
      },
    };
    const ratio = median(speeds.map(({ rowsPerSecond }, i) => rowsPerSecond / rates[i]));
    return { firstAnswerMs, alone, together, extractRowsPerSecond: median(rates), ratio };
  } finally {
    bar.stop();
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "exit");
  }
}

function addressOf(stderr: NodeJS.ReadableStream, server: NodeJS.EventEmitter): Promise<string> {
  let text = "";
  return new Promise((done, fail) => {
    stderr.on("data", (chunk: Buffer) => {
      text += chunk;
      const found = /(http:\/\/\S+) answers with/.exec(text)?.[1];
      if (found !== undefined) done(found);
    });
    server.on("exit", () => fail(new UserError(`the server ended: ${text.trim()}`)));
  });
}

const repeated = (examples: readonly Example[], count: number) =>
  Array.from({ length: count }, (_, i) => examples[i % examples.length]);

function tableOf({ firstAnswerMs, alone, together, extractRowsPerSecond, ratio }: Measured, clients: number): string {
  const row = (name: string, { requests, rowsPerSecond, p50Ms, p95Ms, p99Ms }: ServeSpeed) => [
    ...[name, `${requests}`, rowsPerSecond.toFixed(1)],
    ...[p50Ms, p95Ms, p99Ms].map((time) => time.toFixed(1)),
  ];
  const table = plainTable(
    ["", "requests", "rows/s", "p50 ms", "p95 ms", "p99 ms"],
    [row("one client", alone), row(`${clients} clients`, together)],
  );
  const lines = [
    table,
    "",
    `first answer ${(firstAnswerMs / 1000).toFixed(2)} s after the start of cre serve`,
    `cre extract on the same rows: ${extractRowsPerSecond.toFixed(1)} rows/s; ${clients} clients get ${(100 * ratio).toFixed(0)} % of it`,
    ...(together.failed > 0 ? [`${together.failed} requests failed`] : []),
  ];
  return `${lines.join("\n")}\n`;
}
