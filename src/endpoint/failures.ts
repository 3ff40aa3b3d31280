import { messageOf, printable } from "../base/errors.ts";

/** Why an attempt failed. */
export interface Failure {
  message: string;
  hint?: string;
  /** The status of the answer; null without one. */
  status: number | null;
  /** Whether another attempt may do better. */
  canRepeat: boolean;
  /** Whether nothing was sent: no server is there. */
  isAbsent?: boolean;
  /** How long the server asks to wait. */
  retryAfterMs?: number;
}

/** Statuses of a server that is overloaded, restarts, or has a proxy in front that cannot reach it. */
const PASSING = [408, 425, 429, 500, 502, 503, 504, 529];
/** Statuses that a server, or a proxy in front of it, may give after the model has computed. */
const AFTER_COMPUTING = [408, 500, 502, 504];
const MAX_SHOWN = 300;

/** Whether a failed attempt may have cost tokens: only a server that was not reached, or that refused the request, has certainly computed nothing. */
export function mayHaveCost({ status, isAbsent }: Failure): boolean {
  if (status === null) return !isAbsent;
  return (status >= 200 && status < 300) || AFTER_COMPUTING.includes(status);
}

/** The failure of an answer that is not JSON: another kind of server, or a proxy's page. */
export function notJson(url: string, status: number, text: string): Failure {
  const begin = text.trim() === "" ? "an empty text" : JSON.stringify(shown(text, 60));
  return {
    message: `${url}: the answer is not JSON (it begins with ${begin}).`,
    hint: "Is this the address of a server with OpenAI's API? It usually ends with /v1.",
    status,
    canRepeat: false,
  };
}

/** The failure of an answer with an error status. */
export function failureOfStatus(given: { url: string; model: string; response: Response; text: string }): Failure {
  const { url, model, response, text } = given;
  const { status } = response;
  const said = messageIn(text);
  const of = (message: string, hint?: string): Failure => ({ message, hint, status, canRepeat: false });
  if (status === 401 || status === 403) {
    const hint = "Give the key that the server expects: --api-key-file FILE.";
    return of(`${url}: the server refuses the API key (${status}).`, hint);
  }
  if (status >= 300 && status < 400) {
    const to = response.headers.get("location");
    return of(`${url}: leads to ${to === null ? "another address" : shown(to, 200)}, expected the server itself.`);
  }
  if (status === 404 && (said === null || !/model|run/i.test(said))) {
    const hint = "Is this the address of a server with OpenAI's API? It usually ends with /v1.";
    return of(`${url}: has no such route (404).`, hint);
  }
  if (status === 404) return of(`${url}: the server has no model "${model}" (${said}).`);
  // OpenAI answers 429 too when an account has no credit left.
  const isSpent = status === 429 && /insufficient_quota|billing/i.test(text);
  // llama-cpp-python's server answers 500 to a field of another type.
  const isMistaken = status === 500 && /\d+ validation errors?/.test(text);
  const canRepeat = PASSING.includes(status) && !isSpent && !isMistaken;
  const what = said === null ? "" : `: ${said}`;
  const failure = of(`${url}: the server answers ${status}${what}`.replace(/\.?$/, "."));
  return { ...failure, canRepeat, retryAfterMs: canRepeat ? retryAfterOf(response) : undefined };
}

/** The failure of a request without an answer. `timeoutMs` is null unless the time was over. */
export function failureOfError({
  url,
  error,
  timeoutMs,
}: {
  url: string;
  error: unknown;
  timeoutMs: number | null;
}): Failure {
  if (timeoutMs !== null) {
    const hint = "A longer time for one request: --request-seconds N; fewer at a time: --concurrency N.";
    return { message: `${url}: no answer in ${timeoutMs / 1000} s.`, hint, status: null, canRepeat: true };
  }
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  const isAbsent = code === "ECONNREFUSED" || code === "ENOTFOUND" || code === "EAI_AGAIN";
  return {
    message: `${url}: ${isAbsent ? "no server answers" : "the connection failed"} (${code ?? messageOf(cause)}).`,
    hint: isAbsent ? "Is the server running at this address?" : undefined,
    status: null,
    canRepeat: true,
    isAbsent,
  };
}

/** What an error answer says, in OpenAI's form, in that of RFC 9457, or in FastAPI's. */
function messageIn(text: string): string | null {
  try {
    const value = JSON.parse(text);
    const said = value?.error?.message ?? value?.detail ?? value?.message ?? value?.error;
    if (typeof said === "string") return shown(said, MAX_SHOWN);
    return said === undefined ? null : shown(JSON.stringify(said), MAX_SHOWN);
  } catch {
    return null;
  }
}

/** Text of a server on one line. */
function shown(text: string, most: number): string {
  const line = printable(
    text
      .slice(0, 4 * most)
      .replace(/\s+/g, " ")
      .trim(),
  );
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

/** Retry-After in seconds or as a date. */
function retryAfterOf(response: Response): number | undefined {
  const value = response.headers.get("retry-after");
  if (value === null) return undefined;
  const seconds = Number(value);
  const milliseconds = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(milliseconds) && milliseconds > 0 ? milliseconds : undefined;
}
