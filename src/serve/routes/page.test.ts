import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fastify, { type FastifyInstance } from "fastify";
import { afterAll, describe, expect, it } from "vitest";
import { addAccess } from "../access.ts";
import { problemDocument, problemOf } from "../problem.ts";
import { addPageRoutes } from "./page.ts";

const folder = mkdtempSync(join(tmpdir(), "page-"));
mkdirSync(join(folder, "page"));
writeFileSync(join(folder, "index.html"), "<!doctype html><title>page</title>");
writeFileSync(join(folder, "page", "index-AbC_1-9.js"), "export {};");
writeFileSync(join(folder, "page", "index-9.css"), "p{}");
writeFileSync(join(folder, "secret.txt"), "secret");
afterAll(() => rmSync(folder, { recursive: true }));

async function served(directory: string): Promise<FastifyInstance> {
  const app = fastify();
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error);
    reply.code(problem.status).send(problemDocument(problem, request.id));
  });
  addAccess(app, { tokens: ["0123456789abcdef"], allowedOrigins: [], isLoopback: false });
  addPageRoutes(app, directory);
  app.get("/v1/runs", async () => ({}));
  await app.ready();
  return app;
}

describe("the page of the server", () => {
  it("loads without a token, under a strict policy; what it asks for needs one", async () => {
    const app = await served(folder);
    const page = await app.inject("/");
    expect(page.statusCode).toBe(200);
    expect(page.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-cache",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "cross-origin-opener-policy": "same-origin",
    });
    const policy = String(page.headers["content-security-policy"]);
    for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]) {
      expect(policy.split("; ")).toContain(part);
    }
    expect(policy).not.toContain("unsafe");
    const script = await app.inject("/page/index-AbC_1-9.js");
    expect(script.headers).toMatchObject({ "content-type": "text/javascript; charset=utf-8" });
    expect(script.headers["cache-control"]).toContain("immutable");
    expect((await app.inject("/page/index-9.css")).headers["content-type"]).toBe("text/css; charset=utf-8");
    expect((await app.inject("/v1/runs")).statusCode).toBe(401);
    expect((await app.inject({ method: "POST", url: "/" })).statusCode).toBe(401);
    await app.close();
  });

  it("gives no other file of the disk", async () => {
    const app = await served(folder);
    for (const path of [
      "/page/../secret.txt",
      "/page/..%2fsecret.txt",
      "/page/%2e%2e%2fsecret.txt",
      "/page/index.html",
    ]) {
      const { statusCode, body } = await app.inject(path);
      expect([401, 404]).toContain(statusCode);
      expect(body).not.toContain('"secret"');
    }
    await app.close();
  });

  it("says how to build it where it is not built", async () => {
    const app = await served(join(folder, "nothing"));
    const answer = await app.inject("/");
    expect(answer.statusCode).toBe(404);
    expect(answer.json()).toMatchObject({ detail: "The page is not built.", hint: "In a checkout: npm run build" });
    await app.close();
  });
});
