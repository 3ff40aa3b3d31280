import type { FastifyInstance } from "fastify";
import { reviewOf, runOf, type ServeContext } from "../context.ts";
import { answers, OBJECT, problems, RUN_NAME } from "../schemas.ts";
import { runInfo } from "./runs.ts";

/** /v1/retrain: fine-tuning on the data of a run with the judged rows; its progress, the comparison, the switch. */
export function addRetrainRoutes(app: FastifyInstance, context: ServeContext): void {
  const tags = ["review"];
  const response = { ...answers("The retraining.", { "application/json": OBJECT }), ...problems(404, 409, 422) };
  const body = {
    type: "object",
    properties: { run: RUN_NAME, epochs: { type: "number", exclusiveMinimum: 0, maximum: 100 } },
    additionalProperties: false,
  };
  app.post<{ Body: { run?: string; epochs?: number } }>(
    "/v1/retrain",
    { schema: { tags, summary: "Start a retraining", body, response } },
    async ({ body: { run, epochs } }) => reviewOf(context).retraining.start(runOf(context, run), epochs),
  );
  app.get("/v1/retrain", { schema: { tags, summary: "All retrainings", response } }, async () => ({
    retrainings: await reviewOf(context).retraining.list(),
  }));
  const params = { type: "object", properties: { id: { type: "string", maxLength: 20 } }, required: ["id"] };
  app.get<{ Params: { id: string } }>(
    "/v1/retrain/:id",
    { schema: { tags, summary: "Loss and F1 so far, and the comparison", params, response } },
    async ({ params: { id } }) => reviewOf(context).retraining.get(id),
  );
  app.post<{ Params: { id: string } }>(
    "/v1/retrain/:id/compare",
    {
      schema: {
        tags,
        summary: "Evaluate it, and compare it with the earlier run on the test split (paired bootstrap)",
        params,
        response,
      },
    },
    async ({ params: { id } }) => reviewOf(context).retraining.compare(id),
  );
  app.post<{ Params: { id: string } }>(
    "/v1/retrain/:id/switch",
    { schema: { tags, summary: "Serve it under the name of the earlier run, also after a restart", params, response } },
    async ({ params: { id } }) => runInfo(await reviewOf(context).retraining.switchTo(id)),
  );
  app.post<{ Params: { id: string } }>(
    "/v1/retrain/:id/cancel",
    { schema: { tags, summary: "End one that is in progress, for good", params, response } },
    async ({ params: { id } }) => reviewOf(context).retraining.cancel(id),
  );
  const ofRun = { type: "object", properties: { name: { type: "string", maxLength: 100 } }, required: ["name"] };
  app.delete<{ Params: { name: string } }>(
    "/v1/runs/:name/switch",
    { schema: { tags, summary: "Serve the run that the server was started with again", params: ofRun, response } },
    async ({ params: { name } }) => runInfo(await reviewOf(context).retraining.switchBack(runOf(context, name))),
  );
}
