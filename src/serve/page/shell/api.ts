import { readLines } from "./lines.ts";

/** An answer of the server that is an error (RFC 9457), in the server's words. */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | null;

  constructor(status: number, code: string, detail: string, hint: string | null) {
    super(detail);
    this.name = "ApiProblem";
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** The routes of the server. Each call throws an ApiProblem for an answer that is an error, and an AbortError where the signal stops it. */
export interface Api {
  get<T>(path: string, signal?: AbortSignal): Promise<T>;
  post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T>;
  remove<T>(path: string): Promise<T>;
  /** Whether requests need a token: a link to a route does not send one. */
  hasToken(): boolean;
  /** The text of an answer, for downloads. */
  text(path: string, accept?: string): Promise<string>;
  /** The lines of a streamed answer (NDJSON). A line {"problem"} is thrown. */
  lines<T>(path: string, body: object | FormData, signal?: AbortSignal): AsyncGenerator<T>;
}

export interface ApiSettings {
  token(): string | null;
  /** The server wants a token, or does not know the one that was sent. */
  onUnauthorized(): void;
  fetch?: typeof fetch;
}

interface ProblemBody {
  code?: string;
  detail?: string;
  hint?: string;
}

/** `path` is relative to the page: "v1/runs". */
export function createApi({ token, onUnauthorized, fetch: send = globalThis.fetch }: ApiSettings): Api {
  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = new Headers(init.headers);
    const own = token();
    if (own !== null) headers.set("authorization", `Bearer ${own}`);
    let response: Response;
    try {
      response = await send(path, { ...init, headers, cache: "no-store" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiProblem(0, "unreachable", "", null);
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status === 401) onUnauthorized();
    throw problem;
  };
  const withBody = (body: unknown): RequestInit =>
    body instanceof FormData
      ? { method: "POST", body }
      : { method: "POST", body: JSON.stringify(body ?? {}), headers: { "content-type": "application/json" } };
  return {
    get: async (path, signal) => (await ask(path, { signal })).json(),
    post: async (path, body, signal) => (await ask(path, { ...withBody(body), signal })).json(),
    hasToken: () => token() !== null,
    remove: async (path) => (await ask(path, { method: "DELETE" })).json(),
    text: async (path, accept = "*/*") => (await ask(path, { headers: { accept } })).text(),
    async *lines<T>(path: string, body: object | FormData, signal?: AbortSignal) {
      const response = await ask(path, { ...withBody(body), signal });
      for await (const line of readLines(response.body as ReadableStream<Uint8Array>)) {
        const value = JSON.parse(line) as T & { problem?: ProblemBody & { status?: number } };
        if (value.problem) throw ofBody(value.problem.status ?? 500, value.problem);
        yield value;
      }
    },
  };
}

const ofBody = (status: number, { code = "fault", detail = "", hint }: ProblemBody) =>
  new ApiProblem(status, code, detail, hint ?? null);

async function problemOf(response: Response): Promise<ApiProblem> {
  const text = await response.text().catch(() => "");
  try {
    return ofBody(response.status, JSON.parse(text) as ProblemBody);
  } catch {
    // A proxy in front of the server answers with a page of its own.
    return new ApiProblem(response.status, "fault", `${response.status} ${response.statusText}`.trim(), null);
  }
}

/** Whether an error only says that the user stopped a request. */
export const isStopped = (error: unknown) => error instanceof DOMException && error.name === "AbortError";
