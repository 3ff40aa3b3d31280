import type { FastifyInstance } from "fastify";
import type { ServeContext } from "../context.ts";
import { answers, problems } from "../schemas.ts";

/** GET /metrics: counts in the form that Prometheus reads. */
export function addMetricsRoute(app: FastifyInstance, { metrics }: ServeContext): void {
  const response = { ...answers("Prometheus' text format.", { "text/plain": { type: "string" } }), ...problems() };
  const schema = { tags: ["server"], summary: "Counts and times for Prometheus", response };
  app.get("/metrics", { schema }, async (_, reply) => reply.type(metrics.contentType).send(await metrics.text()));
}
