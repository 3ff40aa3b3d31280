import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Entities, openEntities, parseEntitySource } from "../documents/entities.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { decodeOf, productsOption, showLoading, storageOption } from "./loading.ts";
import { collect, wholeNumber } from "./options.ts";
import { say, warn } from "./terminal.ts";

const LEVELS = ["silent", "error", "warn", "info", "debug"] as const;

interface ServeFlags {
  port: number;
  host: string;
  tokenFile?: string;
  allowOrigin: string[];
  entities: string[];
  storage?: ModelStorage;
  products?: DecodeSettings["precision"];
  log: (typeof LEVELS)[number];
  requestSeconds: number;
  work?: string;
  forgetSwitches?: boolean;
}

export function addServeCommand(program: Command): void {
  program
    .command("serve")
    .description(
      "answer requests over HTTP with runs: extraction, documents, OpenAI-compatible completions (docs/serving.md)",
    )
    .argument("<run...>", "run folders, or NAME=DIR; adapters on one base model share it")
    .option("--port <n>", "port; 0 takes a free one", parsePort, 8765)
    .option("--host <address>", "address to listen on; any but this machine's own needs --token-file", "127.0.0.1")
    .option("--token-file <file>", "file with a token a line; requests must come with one of them")
    .option("--allow-origin <origin>", "let pages of this origin ask from a browser; repeatable", collect, [])
    .option("--entities <source>", "entities of texts that come without: as for cre extract; repeatable", collect, [])
    .addOption(storageOption("the recipes'"))
    .addOption(productsOption())
    .option("--work <dir>", "keep corrections in this folder, and retrain there")
    .option("--forget-switches", "serve the runs as given, not the retrained ones that they were switched to")
    .option("--request-seconds <n>", "most time for one request", wholeNumber, 60)
    .addOption(new Option("--log <level>", "least level of log lines").choices(LEVELS).default("info"))
    .action(serve);
}

function parsePort(text: string): number {
  const port = wholeNumber(text);
  if (port > 65_535) throw new InvalidArgumentError("expected a number from 0 to 65535.");
  return port;
}

async function serve(runs: string[], flags: ServeFlags): Promise<void> {
  const { startServer } = await import("../serve/start.ts");
  const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
  const sources = flags.entities.map(parseEntitySource);
  const entities: Entities | null = sources.length > 0 ? await openEntities(sources, "longest", warn) : null;
  // Installed before the weights are read: a signal meanwhile ends the server as soon as it listens.
  const stop = watchForStop({ onSignal: (name) => say(`${name}: ending the requests in progress`) });
  try {
    const server = await startServer({
      ...{ runs, version, entities, port: flags.port, host: flags.host, tokenFile: flags.tokenFile },
      ...{ allowedOrigins: flags.allowOrigin, storage: flags.storage, decode: decodeOf(flags), logLevel: flags.log },
      ...{ work: flags.work, forgetSwitches: flags.forgetSwitches },
      ...{ program: [process.execPath, fileURLToPath(new URL("../cli.js", import.meta.url))] },
      limits: { requestMs: 1000 * Math.max(1, flags.requestSeconds) },
      onNotice: warn,
      onLoad: showLoading(),
    });
    const names = server.context.runs.all().map(({ name }) => name);
    say(`${server.url} answers with ${names.join(", ")}: a page for the browser, and the API (${server.url}/docs)`);
    if (!stop.signal.aborted) {
      await new Promise<void>((done) => stop.signal.addEventListener("abort", () => done(), { once: true }));
    }
    await server.stop();
  } finally {
    stop.close();
  }
}
