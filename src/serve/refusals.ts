import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Problem, problemDocument, problemOf } from "./problem.ts";

// What is refused before a route is found, or before there is a request at all, is told as every other problem (RFC 9457).

const TYPE = "application/problem+json; charset=utf-8";

/** Answers a request whose address is no URL. */
export function refuseAddress(error: Error, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error);
  reply.code(problem.status).type(TYPE).send(problemDocument(problem, request.id));
}

/** Answers on a connection that brought no request: one that is no HTTP, has too many headers, or comes too slowly. */
export function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code, detail] = refusalOf(error.code);
  const body = JSON.stringify(problemDocument(new Problem(code, detail), "none", status));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `content-type: ${TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}

function refusalOf(code: string | undefined): [number, "bad-request" | "too-large" | "timed-out", string] {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return [408, "timed-out", "The request did not come in time."];
  if (code === "HPE_HEADER_OVERFLOW") return [431, "too-large", "The headers of the request are too large."];
  return [400, "bad-request", "This is no request of HTTP/1.1."];
}
