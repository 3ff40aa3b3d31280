import { UserError } from "../base/errors.ts";
import { createRandom, type Random } from "../base/random.ts";
import { type AnswerCache, cacheKey, openAnswerCache } from "./answer-cache.ts";
import { type Failure, failureOfError, failureOfStatus, mayHaveCost, notJson } from "./failures.ts";

/** What requests cost. */
export interface EndpointCounts {
  /** Requests that the server answered. */
  requests: number;
  /** Attempts that failed and were repeated. */
  retries: number;
  /** Answers that were on the disk, or were in progress for an equal request. */
  cacheHits: number;
  /** Tokens of prompts and answers as the server counts them; those of the cache cost none. */
  promptTokens: number;
  answerTokens: number;
}

export interface EndpointOptions {
  /** Address of the server: http://HOST:PORT, or with a path such as /v1. */
  url: string;
  model: string;
  /** Sent as a bearer token, and to no other address. */
  apiKey?: string;
  /** Most requests in progress at a time; default 8. */
  concurrency?: number;
  /** Longest time of one attempt; default 120,000. */
  timeoutMs?: number;
  /** Most attempts of a request; default 9: about two minutes in which a server can be started again. */
  attempts?: number;
  /** The first pause before another attempt, doubled each time up to 30 s; default 500. */
  backoffMs?: number;
  /** Folder that keeps the answers; null or absent for none. */
  cache?: string | null;
  /** Varies the pauses, so that clients that failed together do not return together. */
  random?: Random;
  signal?: AbortSignal;
}

/** An answer, and its cost by the server's count (zero where the server does not count). */
export interface EndpointAnswer {
  body: Record<string, unknown>;
  promptTokens: number;
  answerTokens: number;
  /** Whether it cost nothing this time. */
  isCached: boolean;
  /** Attempts before it that may have cost tokens without an answer (`mayHaveCost`). */
  lostAttempts: number;
}

/** Changes of one request. */
export interface AskOptions {
  /** Most attempts, in the place of the client's. */
  attempts?: number;
  /** Called before an attempt that follows one that may have cost tokens; false ends the request there. Not called for one that waits for an equal request. */
  mayRepeat?: () => Promise<boolean>;
}

/** The routes that answer questions. */
export type EndpointRoute = "completions" | "chat/completions";

/** Client of a server that speaks OpenAI's API. */
export interface EndpointClient {
  /** The address with its path, without a slash at the end. */
  readonly url: string;
  readonly model: string;
  readonly counts: Readonly<EndpointCounts>;
  /** The models that the server offers, as it describes them. */
  models(): Promise<Record<string, unknown>[]>;
  /**
   * The answer to a request, `model` being added. Equal requests are asked once, and never again with a cache. Repeats what can be repeated.
   * Throws an EndpointError when the server refuses the request or does not answer at last.
   */
  ask(route: EndpointRoute, request: Record<string, unknown>, options?: AskOptions): Promise<EndpointAnswer>;
  /** Ends what is in progress; those who wait for it get an error. */
  close(): void;
}

/** A request that was not answered. `status` is the server's; null when there was no answer. */
export class EndpointError extends UserError {
  readonly status: number | null;
  /** Attempts that may have cost tokens, the last one included. */
  readonly lostAttempts: number;
  /** Whether `mayRepeat` allowed no further attempt. */
  readonly isGivenUp: boolean;

  constructor({ message, hint, status }: Failure, { lostAttempts = 0, isGivenUp = false } = {}) {
    super(message, { hint });
    this.name = "EndpointError";
    this.status = status;
    this.lostAttempts = lostAttempts;
    this.isGivenUp = isGivenUp;
  }
}

const MAX_ANSWER_BYTES = 64_000_000;
const LONGEST_PAUSE_MS = 30_000;
/** A server that asks for more patience is waited for no longer than this at a time. */
const LONGEST_ASKED_PAUSE_MS = 300_000;
/** At the start a server that is not there is soon reported. */
const FIRST_ATTEMPTS = 3;

/** Makes a client; asks nothing yet. Throws a UserError for an address or a key that cannot be used. */
export async function createEndpointClient(options: EndpointOptions): Promise<EndpointClient> {
  const { model, apiKey, concurrency = 8, timeoutMs = 120_000, attempts = 9, backoffMs = 500 } = options;
  const ending = new AbortController();
  const { signal } = ending;
  const { signal: given } = options;
  if (given?.aborted) ending.abort(given.reason);
  given?.addEventListener("abort", () => ending.abort(given.reason), { once: true });
  const url = endpointUrl(options.url);
  const cache: AnswerCache | null = options.cache ? await openAnswerCache(options.cache) : null;
  const random = options.random ?? createRandom(Date.now());
  const headers: Record<string, string> = { accept: "application/json" };
  if (apiKey !== undefined) headers.authorization = `Bearer ${apiKey}`;
  const counts: EndpointCounts = { requests: 0, retries: 0, cacheHits: 0, promptTokens: 0, answerTokens: 0 };
  const inProgress = new Map<string, Promise<EndpointAnswer>>();
  const turns = createTurns(concurrency);
  /** Before this time nothing is asked: the server is overloaded. */
  let pausedUntil = 0;

  /** One attempt. */
  const attempt = async (path: string, body: string | null): Promise<Record<string, unknown> | Failure> => {
    const limit = timeLimit(timeoutMs, signal);
    try {
      const response = await fetch(`${url}/${path}`, {
        method: body === null ? "GET" : "POST",
        headers: body === null ? headers : { ...headers, "content-type": "application/json" },
        body,
        redirect: "manual",
        signal: limit.signal,
      });
      const text = await textOf(response);
      if (text === null) return { ...notJson(url, response.status, ""), canRepeat: false };
      if (!response.ok) return failureOfStatus({ url, model, response, text });
      const parsed = objectOf(text);
      return parsed ?? notJson(url, response.status, text);
    } catch (error) {
      signal.throwIfAborted();
      return failureOfError({ url, error, timeoutMs: limit.isOver() ? timeoutMs : null });
    } finally {
      limit.end();
    }
  };

  const repeatedly = async (path: string, body: string | null, most: number, mayRepeat?: AskOptions["mayRepeat"]) => {
    let lostAttempts = 0;
    for (let failed = 0; ; failed++) {
      await pause(pausedUntil - Date.now(), signal);
      const result = await attempt(path, body);
      if (!isFailure(result)) {
        counts.requests++;
        return { answer: result, lostAttempts };
      }
      const isLost = mayHaveCost(result);
      if (isLost) lostAttempts++;
      const fail = (isGivenUp: boolean): never => {
        const tries = failed > 0 ? ` (${failed + 1} attempts)` : "";
        const message = `${result.message.replace(/\.$/, "")}${tries}.`;
        throw new EndpointError({ ...result, message }, { lostAttempts, isGivenUp });
      };
      if (!result.canRepeat || failed + 1 >= most) fail(false);
      counts.retries++;
      const own = Math.min(LONGEST_PAUSE_MS, backoffMs * 2 ** failed) * (0.5 + 0.5 * random.uniform());
      const asked = Math.min(LONGEST_ASKED_PAUSE_MS, result.retryAfterMs ?? 0);
      if (asked > 0) pausedUntil = Math.max(pausedUntil, Date.now() + asked);
      await pause(Math.max(own, asked), signal);
      if (isLost && mayRepeat && !(await mayRepeat())) fail(true);
    }
  };

  const askServer = async (
    key: string,
    route: EndpointRoute,
    body: string,
    { attempts: most = attempts, mayRepeat }: AskOptions,
  ): Promise<EndpointAnswer> => {
    const kept = await cache?.read(key);
    if (kept) {
      counts.cacheHits++;
      return {
        body: kept as Record<string, unknown>,
        promptTokens: 0,
        answerTokens: 0,
        isCached: true,
        lostAttempts: 0,
      };
    }
    // Kept before the next one is asked: a killed process loses at most the answers of `concurrency` requests.
    const { answer, lostAttempts } = await turns(async () => {
      const result = await repeatedly(route, body, most, mayRepeat);
      await cache?.write(key, result.answer);
      return result;
    });
    const usage = (answer.usage ?? {}) as Record<string, unknown>;
    const promptTokens = tokenCount(usage.prompt_tokens);
    const answerTokens = tokenCount(usage.completion_tokens);
    counts.promptTokens += promptTokens;
    counts.answerTokens += answerTokens;
    return { body: answer, promptTokens, answerTokens, isCached: false, lostAttempts };
  };

  return {
    ...{ url, model, counts },
    close: () => ending.abort(new Error(`The client of ${url} is closed.`)),
    async models() {
      const { answer } = await turns(() => repeatedly("models", null, Math.min(FIRST_ATTEMPTS, attempts)));
      const { data } = answer;
      return Array.isArray(data) ? data.filter((one) => typeof one?.id === "string") : [];
    },
    async ask(route, request, options = {}) {
      signal.throwIfAborted();
      const body = JSON.stringify({ model, ...request });
      const key = cacheKey(url, route, body);
      const other = inProgress.get(key);
      if (other) {
        const { body: same } = await other;
        counts.cacheHits++;
        return { body: same, promptTokens: 0, answerTokens: 0, isCached: true, lostAttempts: 0 };
      }
      const asked = askServer(key, route, body, options).finally(() => inProgress.delete(key));
      inProgress.set(key, asked);
      return asked;
    },
  };
}

/** The address that the routes follow: without a path it is /v1. Throws a UserError for what is no address of a server. */
export function endpointUrl(given: string): string {
  let url: URL;
  try {
    url = new URL(given);
  } catch {
    throw new UserError(`--endpoint: got "${given}", expected an address such as http://127.0.0.1:8000/v1.`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new UserError(`--endpoint: got "${given}", expected http:// or https://.`);
  if (url.username !== "" || url.password !== "")
    throw new UserError("--endpoint: has a user name or a password in it, expected --api-key-file FILE.");
  if (url.search !== "" || url.hash !== "")
    throw new UserError(`--endpoint: got "${given}", expected an address without ? and #.`);
  const path = url.pathname.replace(/\/+$/, "");
  return `${url.origin}${path === "" ? "/v1" : path}`;
}

const isFailure = (result: Record<string, unknown> | Failure): result is Failure =>
  typeof result.canRepeat === "boolean" && typeof result.message === "string";

const tokenCount = (value: unknown): number =>
  Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0;

/** The text of an answer; null for one that is too long. */
async function textOf(response: Response): Promise<string | null> {
  if (response.body === null) return "";
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength;
    if (bytes > MAX_ANSWER_BYTES) return null;
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function objectOf(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** A signal for one attempt: its time is over, or the caller stops. */
function timeLimit(milliseconds: number, stop: AbortSignal) {
  const controller = new AbortController();
  let isOver = false;
  const onStop = () => controller.abort(stop.reason);
  const timer = setTimeout(() => {
    isOver = true;
    controller.abort();
  }, milliseconds);
  stop.addEventListener("abort", onStop, { once: true });
  const end = () => {
    clearTimeout(timer);
    stop.removeEventListener("abort", onStop);
  };
  return { signal: controller.signal, isOver: () => isOver, end };
}

/** Waits; a stop ends it with the signal's reason. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (milliseconds <= 0) return;
  await new Promise<void>((done, fail) => {
    const stop = () => {
      clearTimeout(timer);
      fail(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      done();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Runs at most `most` pieces of work at a time, in the order in which they came. */
function createTurns(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running >= most) await new Promise<void>((go) => waiting.push(go));
    else running++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
