import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readApiKey } from "../endpoint/api-key.ts";
import { createEndpointClient, type EndpointClient } from "../endpoint/client.ts";
import type { ShotOptions } from "../endpoint/shots.ts";
import { WAY_NAMES, type WayName } from "../endpoint/ways.ts";
import { parseCount, positiveNumber, wholeNumber } from "./options.ts";

/** The options that name a server and how it is asked. */
export interface ConnectionOptions {
  endpoint?: string;
  model?: string;
  apiKeyFile?: string;
  concurrency?: number;
  requestSeconds?: number;
  cache?: string;
}

const GROUP = "Server:";

/** The options of every command that asks a server with OpenAI's API. */
export const CONNECTION_OPTIONS: readonly Option[] = [
  new Option("--endpoint <url>", "address of a server with OpenAI's API (docs/endpoints.md)"),
  new Option("--model <name>", "with --endpoint: the model's name there"),
  new Option("--api-key-file <file>", "with --endpoint: file with the API key"),
  new Option("--concurrency <n>", "with --endpoint: requests in progress (default: 8)").argParser(parseCount),
  new Option("--request-seconds <s>", "with --endpoint: longest time of a request (default: 120)").argParser(
    positiveNumber,
  ),
  new Option("--cache <dir>", "with --endpoint: folder that keeps the answers (default: next to the output)"),
];

/** Adds {@link CONNECTION_OPTIONS} and further ones to a command. */
export function addConnectionOptions(command: Command, further: readonly Option[] = []): void {
  for (const option of [...CONNECTION_OPTIONS, ...further]) command.addOption(option.helpGroup(GROUP));
}

/** Throws a UserError for an option of a server without `--endpoint`. */
export function expectNoEndpointOptions(command: Command, further: readonly Option[] = []): void {
  for (const option of [...CONNECTION_OPTIONS, ...further]) {
    if (command.getOptionValueSource(option.attributeName()) !== "cli") continue;
    throw new UserError(`${option.long}: goes with --endpoint only.`);
  }
}

/**
 * Makes the client that the options name. `cache` is the folder of answers where `--cache` names none; null for none. Throws a UserError for
 * options that lack the model or cannot be used.
 */
export async function clientOf(
  options: ConnectionOptions,
  { cache = null, signal }: { cache?: string | null; signal?: AbortSignal } = {},
): Promise<EndpointClient> {
  const { endpoint, model, apiKeyFile, concurrency, requestSeconds } = options;
  if (endpoint === undefined) throw new UserError("--endpoint: is missing, expected the address of a server.");
  if (model === undefined) {
    throw new UserError("--endpoint: needs --model NAME, the model's name at the server.", {
      hint: `The server lists its models at ${endpoint.replace(/\/+$/, "")}/models.`,
    });
  }
  return createEndpointClient({
    ...{ url: endpoint, model, concurrency, signal },
    apiKey: apiKeyFile === undefined ? undefined : await readApiKey(apiKeyFile),
    timeoutMs: requestSeconds === undefined ? undefined : requestSeconds * 1000,
    cache: options.cache ?? cache,
  });
}

/** The options that say what a server is asked. */
export interface AskingOptions {
  way?: WayName;
  shots?: number;
  shotsBy?: "nearest" | "random";
  shotsSeed?: number;
  answerTokens?: number;
}

/** The options of commands that have a server answer rows. */
export const ASKING_OPTIONS: readonly Option[] = [
  new Option("--way <name>", "with --endpoint: how labels are asked for (default: what the server has)").choices(
    WAY_NAMES,
  ),
  new Option("--shots <n>", "with --endpoint: training rows shown with each question, with an instruction").argParser(
    wholeNumber,
  ),
  new Option("--shots-by <how>", "with --shots: the rows nearest by entities and words, or random ones").choices([
    "nearest",
    "random",
  ]),
  new Option("--shots-seed <n>", "with --shots-by random: the seed (default: 1)").argParser(wholeNumber),
  new Option(
    "--answer-tokens <n>",
    "with --endpoint: most tokens of an answer; more for models that think first (default: the recipe's, or 64)",
  ).argParser(parseCount),
];

const MAX_SHOTS = 1000;

/** What is asked, by the options. Throws a UserError for options that contradict each other. */
export function shotsFrom({ shots, shotsBy, shotsSeed }: AskingOptions): ShotOptions | null {
  if (shots === undefined) {
    const lost = shotsBy !== undefined ? "--shots-by" : shotsSeed !== undefined ? "--shots-seed" : null;
    if (lost !== null) throw new UserError(`${lost}: goes with --shots only.`);
    return null;
  }
  if (shots > MAX_SHOTS) throw new UserError(`--shots: got ${shots}, expected at most ${MAX_SHOTS}.`);
  if (shotsSeed !== undefined && shotsBy !== "random")
    throw new UserError("--shots-seed: goes with --shots-by random only.");
  return { count: shots, by: shotsBy ?? "nearest", seed: shotsSeed ?? 1 };
}
