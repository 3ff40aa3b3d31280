import type { FastifyInstance } from "fastify";
import { DOCS_POLICY, docsPage } from "../docs-page.ts";
import { PROBLEM_CODES } from "../problem.ts";

/** GET /openapi.json and GET /docs: the description of the API. */
export function addDocsRoutes(app: FastifyInstance): void {
  const hide = { schema: { hide: true } };
  app.get("/openapi.json", hide, async () => app.swagger());
  app.get("/docs", hide, async (_, reply) => {
    const page = docsPage(app.swagger() as unknown as Parameters<typeof docsPage>[0], PROBLEM_CODES);
    return reply.header("content-security-policy", DOCS_POLICY).type("text/html; charset=utf-8").send(page);
  });
}
