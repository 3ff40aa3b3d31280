import { mkdir, readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import type { FastifyInstance } from "fastify";
import { destination, type LevelWithSilent, pino } from "pino";
import { UserError, UserErrors } from "../base/errors.ts";
import type { Entities } from "../documents/entities.ts";
import type { OpenOptions } from "../runs/open.ts";
import { createApp } from "./app.ts";
import type { ServeContext } from "./context.ts";
import { createDatasets } from "./datasets/datasets.ts";
import { SERVE_LIMITS, type ServeLimits } from "./limits.ts";
import { createMetrics } from "./metrics.ts";
import { openLabelledSet } from "./review/labelled-set.ts";
import { openRetraining } from "./review/retraining.ts";
import { openSwitches, type Switches, switchedRuns } from "./review/switches.ts";
import { createScheduler } from "./scheduler.ts";
import { namedRuns, openServedRuns, type ServedRuns } from "./served-run.ts";

export interface ServeOptions extends OpenOptions {
  /** Folders of runs, or NAME=DIR. */
  runs: readonly string[];
  /** Default 127.0.0.1: this machine only. */
  host?: string;
  /** Default 8765; 0 takes a free one. */
  port?: number;
  /** A file with a token a line. Needed for any host but this machine. */
  tokenFile?: string;
  allowedOrigins?: readonly string[];
  limits?: Partial<ServeLimits>;
  /** Names that are looked for in texts that come without entities. */
  entities?: Entities | null;
  logLevel?: LevelWithSilent;
  /** Folder of the labelled set and of retrainings; without it none are kept. */
  work?: string;
  /** Serve the runs as they are given, not those that they were switched to; default false. */
  forgetSwitches?: boolean;
  /** The command line of cre, for retrainings: the program and its first arguments. */
  program?: readonly string[];
  version?: string;
}

/** A server that listens. */
export interface RunningServer {
  url: string;
  app: FastifyInstance;
  context: ServeContext;
  /** Takes no more requests, ends those in progress, and frees the weights. */
  stop(): Promise<void>;
}

const DEFAULT_HOST = "127.0.0.1";
const DEFAULT_PORT = 8765;
const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/;
const FLUSH_MS = 2_000;
const LEAST_TOKEN_CHARACTERS = 16;
const MAX_TOKENS = 1000;

/** Reads a file with a token a line; lines with # are comments. Throws UserErrors. */
export async function readTokens(file: string): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: Error) => {
    throw new UserError(`${file}: cannot be read (${error.message}), expected a token a line.`);
  });
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const tokens = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const problems = tokens.flatMap((token, i) => {
    if (/\s/.test(token)) return [`token ${i + 1}: has a space, expected one word`];
    if (token.length >= LEAST_TOKEN_CHARACTERS) return [];
    return [`token ${i + 1}: has ${token.length} characters, expected at least ${LEAST_TOKEN_CHARACTERS}`];
  });
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) {
    problems.push(`has ${tokens.length} tokens, expected 1 to ${MAX_TOKENS}`);
  }
  if (problems.length === 0) return tokens;
  throw new UserErrors(`${file}: cannot be used:`, problems, { hint: "Make one: openssl rand -hex 24 > FILE" });
}

/** Opens runs and listens. Throws a UserError for a run, a host or a port that cannot be used. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { host = DEFAULT_HOST, port = DEFAULT_PORT, allowedOrigins = [], tokenFile, entities = null } = options;
  const limits = { ...SERVE_LIMITS, ...options.limits };
  const isLoopback = LOOPBACK.test(host);
  if (!isLoopback && tokenFile === undefined) {
    throw new UserError(`--host ${host}: others can reach it, expected --token-file with it.`, {
      hint: "Make a token: openssl rand -hex 24 > token.txt",
    });
  }
  const named = namedRuns(options.runs);
  const tokens = tokenFile === undefined ? [] : await readTokens(tokenFile);
  const metrics = createMetrics();
  const scheduler = createScheduler(limits, (report) => metrics.turn(report));
  const logger = pino({ level: options.logLevel ?? "info", base: null }, destination({ fd: 2, sync: false }));
  const log = (line: string) => logger.info(line);
  const switches = options.work === undefined ? null : await switchesOf(options.work, named, options, log);
  const runs = await openServedRuns(switchedRuns(named, switches, log), options);
  let isReady = true;
  const context: ServeContext = {
    ...{ runs, scheduler, metrics, limits, entities, datasets: createDatasets() },
    review: null,
    version: options.version ?? "0",
    isReady: () => isReady,
  };
  metrics.watch(scheduler, runs);
  if (options.work !== undefined && switches !== null) {
    try {
      context.review = await openReview(options.work, options.program ?? [], runs, switches, log);
    } catch (error) {
      await runs.close();
      metrics.close();
      throw error;
    }
  }
  const app = await createApp(
    context,
    { tokens, allowedOrigins, isLoopback: isLoopback && tokens.length === 0 },
    logger,
  );
  const free = async () => {
    await context.review?.retraining.close();
    await context.review?.labelled.close();
    await runs.close();
    metrics.close();
  };
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    await free();
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EADDRINUSE" && code !== "EACCES" && code !== "EADDRNOTAVAIL") throw error;
    throw new UserError(`${host}:${port}: cannot be listened on (${code}).`, { hint: "Give another one: --port N" });
  }
  // Reading the weights holds the event loop; from here on it counts.
  metrics.loopDelay();
  const [address] = app.addresses() as AddressInfo[];
  const shown = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    app,
    context,
    async stop() {
      isReady = false;
      const closed = app.close();
      await scheduler.stop(limits.drainMs);
      // Answers are being sent; connections that only wait are no reason to stay.
      const flush = setTimeout(() => app.server.closeAllConnections(), FLUSH_MS);
      await closed;
      clearTimeout(flush);
      await free();
    },
  };
}

async function switchesOf(
  work: string,
  named: readonly { name: string }[],
  { forgetSwitches = false }: Pick<ServeOptions, "forgetSwitches">,
  log: (line: string) => void,
): Promise<Switches> {
  await mkdir(work, { recursive: true });
  const switches = await openSwitches(join(work, "switches.json"));
  for (const { name } of forgetSwitches ? named : []) {
    if (await switches.remove(name)) log(`${name} is served as given: its switch is forgotten`);
  }
  return switches;
}

async function openReview(
  work: string,
  program: readonly string[],
  runs: ServedRuns,
  switches: Switches,
  log: (line: string) => void,
): Promise<ServeContext["review"]> {
  const labelled = await openLabelledSet(join(work, "labelled.jsonl"));
  try {
    const retraining = await openRetraining(join(resolve(work), "retrain"), program, runs, labelled, switches, log);
    return { labelled, retraining };
  } catch (error) {
    await labelled.close();
    throw error;
  }
}
