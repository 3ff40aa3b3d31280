import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { FastifyInstance } from "fastify";
import { readJsonObject } from "../../formats/json-file.ts";
import { runOf, type ServeContext } from "../context.ts";
import { Problem } from "../problem.ts";
import { answers, OBJECT, problems } from "../schemas.ts";

/** The report has its styles inside and nothing else. */
const REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox";

/** GET /v1/runs/NAME/report: the metrics of the last evaluation as JSON, or its report as a page. */
export function addRunReportRoute(app: FastifyInstance, context: ServeContext): void {
  const schema = {
    tags: ["runs"],
    summary: "The last evaluation of a run",
    description: "metrics.json, or the page report.html for a request that accepts text/html.",
    params: { type: "object", properties: { name: { type: "string", maxLength: 100 } }, required: ["name"] },
    response: {
      ...answers("The metrics, or the page.", { "application/json": OBJECT, "text/html": { type: "string" } }),
      ...problems(404),
    },
  };
  app.get<{ Params: { name: string } }>("/v1/runs/:name/report", { schema }, async (request, reply) => {
    const { folder } = runOf(context, request.params.name).run;
    const wantsPage = (request.headers.accept ?? "").includes("text/html");
    const file = wantsPage ? folder.report : folder.metrics;
    if (!existsSync(file)) {
      throw new Problem("not-found", `The run ${request.params.name} has no evaluation yet.`, {
        hint: "Evaluate it: cre evaluate RUN",
      });
    }
    if (!wantsPage) return readJsonObject(file, "the metrics of a run");
    return reply
      .header("content-security-policy", REPORT_POLICY)
      .type("text/html; charset=utf-8")
      .send(await readFile(file));
  });
}
