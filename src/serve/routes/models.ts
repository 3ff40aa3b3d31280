import type { FastifyInstance } from "fastify";
import { runOf, type ServeContext } from "../context.ts";
import { problems } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";

const MODEL = {
  type: "object",
  properties: {
    id: { type: "string" },
    object: { enum: ["model"] },
    created: { type: "integer" },
    owned_by: { type: "string" },
    max_model_len: { type: "integer" },
  },
};

const modelOf = ({ name, openedAt, run }: ServedRun) => ({
  ...{ id: name, object: "model", created: openedAt, owned_by: "cre-llm" },
  max_model_len: run.model.spec.maxTokens,
});

/** GET /v1/models and /v1/models/NAME: the runs, as OpenAI's clients list models. */
export function addModelsRoutes(app: FastifyInstance, context: ServeContext): void {
  const tags = ["OpenAI"];
  const list = { type: "object", properties: { object: { enum: ["list"] }, data: { type: "array", items: MODEL } } };
  app.get(
    "/v1/models",
    { schema: { tags, summary: "The runs as models", response: { 200: list, ...problems() } } },
    async () => ({
      object: "list",
      data: context.runs.all().map(modelOf),
    }),
  );
  const params = { type: "object", properties: { model: { type: "string", maxLength: 100 } }, required: ["model"] };
  const schema = { tags, summary: "One run as a model", params, response: { 200: MODEL, ...problems(404) } };
  app.get<{ Params: { model: string } }>("/v1/models/:model", { schema }, async ({ params: { model } }) =>
    modelOf(runOf(context, model)),
  );
}
