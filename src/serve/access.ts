import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Problem } from "./problem.ts";

/** Who may ask. */
export interface Access {
  /** One of these must come with a request; empty: none is needed. */
  tokens: readonly string[];
  /** Pages of these origins may ask from a browser; "*" for any. */
  allowedOrigins: readonly string[];
  /** Whether the server listens on this machine only. */
  isLoopback: boolean;
}

const LOOPBACK_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);
const digest = (text: string) => createHash("sha256").update(text).digest();
/** Paths that say nothing of runs or data: for probes, the description of the API, and the page, which asks for a token. */
const OPEN_PATHS = new Set(["/", "/health", "/ready", "/docs", "/openapi.json"]);
const PAGE_FILES = /^\/page\/[\w.-]+$/;

/** Adds the checks that every request passes first, and the headers of every answer. */
export function addAccess(app: FastifyInstance, access: Access): void {
  const digests = access.tokens.map(digest);
  const isAllowed = (origin: string) => access.allowedOrigins.includes("*") || access.allowedOrigins.includes(origin);

  app.addHook("onRequest", async (request, reply) => {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) reply.header(name, value);
    const { origin, host } = request.headers;
    if (origin !== undefined && isAllowed(origin)) {
      reply.header("access-control-allow-origin", origin).header("vary", "origin");
      if (request.method === "OPTIONS") return reply.headers(PREFLIGHT_HEADERS).code(204).send();
    } else if (origin !== undefined && !isOwn(origin, host)) {
      throw new Problem("forbidden", `Pages of ${JSON.stringify(origin.slice(0, 200))} may not ask this server.`, {
        hint: "Start it with --allow-origin ORIGIN to let them.",
      });
    }
    // A foreign name that leads to this machine (DNS rebinding) would let a page of any site ask.
    if (access.isLoopback && !LOOPBACK_HOSTS.has((host ?? "").replace(/:\d+$/, ""))) {
      throw new Problem("forbidden", `The host ${JSON.stringify((host ?? "").slice(0, 200))} is not this machine.`, {
        hint: "Ask for http://127.0.0.1, or start the server with --host and --token-file.",
      });
    }
    const [path] = request.url.split("?");
    const isOpen = (OPEN_PATHS.has(path) || PAGE_FILES.test(path)) && request.method === "GET";
    if (digests.length === 0 || isOpen) return;
    const token = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
    const given = token === undefined ? null : digest(token);
    if (given !== null && digests.some((one) => timingSafeEqual(one, given))) return;
    reply.header("www-authenticate", "Bearer");
    throw new Problem("unauthorized", token === undefined ? "The request has no token." : "The token is not known.", {
      hint: "Send the header Authorization: Bearer TOKEN with a token of the server's --token-file.",
    });
  });
}

const isOwn = (origin: string, host: string | undefined) => origin === `http://${host}` || origin === `https://${host}`;

/** Whose request it is, for fairness: its token and its address. */
export function clientOf(request: FastifyRequest): string {
  const { authorization = "" } = request.headers;
  return `${request.ip} ${authorization === "" ? "" : digest(authorization).toString("base64url").slice(0, 12)}`;
}

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "cache-control": "no-store",
};

const PREFLIGHT_HEADERS = {
  "access-control-allow-methods": "GET, POST, PUT, DELETE",
  "access-control-allow-headers": "authorization, content-type",
  "access-control-max-age": "600",
};
