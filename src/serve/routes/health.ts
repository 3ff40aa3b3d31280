import type { FastifyInstance } from "fastify";
import type { ServeContext } from "../context.ts";
import { Problem } from "../problem.ts";
import { problems } from "../schemas.ts";

const STATUS = { type: "object", properties: { status: { type: "string" } } };

/** GET /health: the process answers. GET /ready: it takes requests. */
export function addHealthRoutes(app: FastifyInstance, context: ServeContext): void {
  const schema = (summary: string) => ({ tags: ["server"], summary, response: { 200: STATUS, ...problems() } });
  app.get("/health", { schema: schema("Whether the process answers") }, async () => ({ status: "alive" }));
  app.get("/ready", { schema: schema("Whether the server takes requests") }, async () => {
    if (context.isReady()) return { status: "ready" };
    throw new Problem("stopping", "The server is stopping.", { retryAfterSeconds: 5 });
  });
}
