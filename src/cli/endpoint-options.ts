import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readApiKey } from "../endpoint/api-key.ts";
import { createEndpointClient, type EndpointClient } from "../endpoint/client.ts";
import { parseCount, positiveNumber } from "./options.ts";

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
