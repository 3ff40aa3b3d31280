import { STATUS_CODES } from "node:http";
import { messageOf, UserError } from "../base/errors.ts";

/** Why a request is refused, for programs. */
export type ProblemCode =
  | "bad-request"
  | "unauthorized"
  | "forbidden"
  | "not-found"
  | "conflict"
  | "too-large"
  | "unsupported-media-type"
  | "unusable"
  | "queue-full"
  | "timed-out"
  | "stopping"
  | "cancelled"
  | "fault";

const STATUS: Record<ProblemCode, number> = {
  "bad-request": 400,
  unauthorized: 401,
  forbidden: 403,
  "not-found": 404,
  conflict: 409,
  "too-large": 413,
  "unsupported-media-type": 415,
  unusable: 422,
  "queue-full": 429,
  // The answer to a client that went away is read by nobody.
  cancelled: 499,
  fault: 500,
  stopping: 503,
  "timed-out": 503,
};

export const PROBLEM_CODES = Object.keys(STATUS) as ProblemCode[];

/** A request that is not answered, with what the client can do. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly status: number;
  readonly hint: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ProblemCode, detail: string, options: { hint?: string; retryAfterSeconds?: number } = {}) {
    super(detail);
    this.name = "Problem";
    this.code = code;
    this.status = STATUS[code];
    this.hint = options.hint;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** The document of RFC 9457, with an `error` as OpenAI's clients read it. */
export interface ProblemDocument {
  type: string;
  title: string;
  status: number;
  code: ProblemCode;
  detail: string;
  hint?: string;
  instance: string;
  error: { message: string; type: string; code: ProblemCode; param: null };
}

/** The document of a problem; `requestId` finds the request in the log, `status` is that of its code unless HTTP has a closer one. */
export function problemDocument(problem: Problem, requestId: string, status = problem.status): ProblemDocument {
  const { code, hint, message } = problem;
  return {
    type: `/docs#${code}`,
    title: STATUS_CODES[status] ?? "Client Closed Request",
    status,
    code,
    detail: message,
    ...(hint === undefined ? {} : { hint }),
    instance: requestId,
    error: {
      message: hint === undefined ? message : `${message} ${hint}`,
      type: status < 500 ? "invalid_request_error" : "server_error",
      code,
      param: null,
    },
  };
}

/** What fastify and its plugins throw. */
interface FrameworkError extends Error {
  code?: string;
  statusCode?: number;
  validation?: readonly { instancePath: string; message?: string; params?: Record<string, unknown> }[];
  validationContext?: string;
}

/** Anything that was thrown as a problem. Only a Problem or a mistake of the caller shows its message. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof UserError) return new Problem("unusable", error.message, { hint: error.hint });
  const { validation, validationContext, statusCode, code } = error as FrameworkError;
  if (validation) return new Problem("bad-request", validationDetail(validation[0], validationContext ?? "body"));
  if (code === "FST_REQ_FILE_TOO_LARGE" || statusCode === 413) return new Problem("too-large", messageOf(error));
  if (statusCode === 415) {
    return new Problem("unsupported-media-type", messageOf(error), { hint: "Send application/json." });
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new Problem("bad-request", messageOf(error));
  }
  return new Problem("fault", "The server failed; this is no fault of the request.", {
    hint: "Its log has the reason under the instance of this answer.",
  });
}

function validationDetail(
  issue: NonNullable<FrameworkError["validation"]>[number] | undefined,
  context: string,
): string {
  const path = (issue?.instancePath ?? "").split("/").slice(1).join(".");
  const where = path === "" ? context : `${context}.${path}`;
  const extra = issue?.params?.additionalProperty;
  if (typeof extra === "string") return `${where}: has the unknown key ${JSON.stringify(extra.slice(0, 80))}.`;
  return `${where}: ${issue?.message ?? "is not valid"}.`;
}
