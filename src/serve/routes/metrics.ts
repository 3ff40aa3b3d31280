import type { FastifyInstance } from "fastify";
import type { ServeContext } from "../context.ts";

/** GET /metrics: counts in the form that Prometheus reads. */
export function addMetricsRoute(app: FastifyInstance, { metrics }: ServeContext): void {
  const response = { 200: { type: "string", description: "Prometheus' text format." } };
  const schema = { tags: ["server"], summary: "Counts and times for Prometheus", produces: ["text/plain"], response };
  app.get("/metrics", { schema }, async (_, reply) => reply.type(metrics.contentType).send(await metrics.text()));
}
