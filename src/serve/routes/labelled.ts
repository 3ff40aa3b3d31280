import type { FastifyInstance } from "fastify";
import { labelledRows } from "../../runs/labelled-rows.ts";
import { exampleOf, type GivenExample } from "../answers.ts";
import { reviewOf, runOf, type ServeContext } from "../context.ts";
import { Problem } from "../problem.ts";
import { EXPORT_FORMATS, type ExportFormat, exportedRows } from "../review/exported-rows.ts";
import { type ReviewedRow, VERDICTS } from "../review/labelled-set.ts";
import { answers, EXAMPLE, LINES, OBJECT, problems, RUN_NAME } from "../schemas.ts";

type Verdict = (typeof VERDICTS)[number];
interface Body {
  run?: string;
  rows: (GivenExample & { relations?: string[]; verdict: Verdict; model?: ReviewedRow["model"] })[];
}

interface Query {
  verdict?: Verdict;
  newest?: "true" | "false";
  offset?: string;
  limit?: string;
}

/** Rows of one answer: a large set would hold the event loop. */
const MOST_ROWS = 1000;

const ROW = {
  ...EXAMPLE,
  properties: {
    ...EXAMPLE.properties,
    id: { type: "string", minLength: 1, maxLength: 100, description: "Of a row that is replaced." },
    relations: { type: "array", items: { type: "string", maxLength: 500 }, minItems: 1, maxItems: 50 },
    verdict: { enum: VERDICTS },
    model: {
      type: "object",
      description: "The answer that is judged, as the server gave it.",
      properties: {
        fingerprint: { type: "string", maxLength: 100 },
        predictions: {
          type: "array",
          maxItems: 50,
          items: {
            type: "object",
            properties: { relation: { type: "string", maxLength: 500 }, probability: { type: "number" } },
            required: ["relation", "probability"],
            additionalProperties: false,
          },
        },
      },
      required: ["fingerprint", "predictions"],
      additionalProperties: false,
    },
  },
  required: ["sentence", "head", "tail", "verdict"],
};

/** POST, GET and DELETE /v1/labelled: what people said of answers. */
export function addLabelledRoutes(app: FastifyInstance, context: ServeContext): void {
  const tags = ["review"];
  const body = {
    type: "object",
    properties: { run: RUN_NAME, rows: { type: "array", items: ROW, minItems: 1, maxItems: 1000 } },
    required: ["rows"],
    additionalProperties: false,
  };
  const refusals = problems(404, 413, 422);
  const response = { ...answers("The rows.", { "application/json": OBJECT }), ...refusals };
  app.post<{ Body: Body }>(
    "/v1/labelled",
    {
      schema: {
        ...{ tags, summary: "Confirm, correct, reject or add relations", body, response },
        description:
          "Rows are on the disk when the answer comes. A rejected row has no relations: it gets the label for none.",
      },
    },
    async (request) => {
      const { labelled } = reviewOf(context);
      const served = runOf(context, request.body.run);
      const { labels, recipe } = served.run;
      const given = request.body.rows.map(({ relations, verdict, ...row }) => ({
        ...row,
        verdict,
        relations: relationsOf(verdict, relations, labels.noRelation),
      }));
      labelledRows(
        given.map((row) => ({ ...exampleOf(row), relations: row.relations })),
        labels,
        "rows",
        recipe.data.normalize,
      );
      const rows = await labelled.add(
        given.map(({ id, verdict, relations, model = null, ...row }) => ({
          ...exampleOf(row),
          ...{ id: id as string | undefined, relations, verdict, model, run: served.name },
        })),
      );
      return { rows };
    },
  );
  const sentences = {
    ...{ type: "array", minItems: 1, maxItems: MOST_ROWS, description: "As rows have them." },
    items: EXAMPLE.properties.sentence,
  };
  app.post<{ Body: { run?: string; sentences: string[] } }>(
    "/v1/labelled/of-sentences",
    {
      schema: {
        ...{ tags, summary: "The judged rows of a run with one of these sentences", response },
        body: {
          type: "object",
          properties: { run: RUN_NAME, sentences },
          required: ["sentences"],
          additionalProperties: false,
        },
      },
    },
    async ({ body: { run, sentences: wanted } }) => {
      const { labelled } = reviewOf(context);
      return { rows: labelled.ofSentences(runOf(context, run).name, wanted) };
    },
  );
  const count = { type: "string", pattern: "^\\d{1,9}$" };
  const querystring = {
    type: "object",
    properties: {
      verdict: { enum: VERDICTS },
      newest: { enum: ["true", "false"], description: "The last row first." },
      offset: count,
      limit: { ...count, description: `At most ${MOST_ROWS}, the default.` },
    },
    additionalProperties: false,
  };
  app.get<{ Querystring: Query }>(
    "/v1/labelled",
    { schema: { tags, summary: "The judged rows", querystring, response } },
    async ({ query }) => {
      const { verdict: wanted, newest = "false", offset = "0", limit = String(MOST_ROWS) } = query;
      const all = reviewOf(context).labelled.rows();
      const counts = Object.fromEntries(VERDICTS.map((one) => [one, 0]));
      for (const { verdict } of all) counts[verdict]++;
      const matching = wanted === undefined ? all : all.filter(({ verdict }) => verdict === wanted);
      const [from, most] = [Number(offset), Math.min(MOST_ROWS, Number(limit))];
      const rows =
        newest === "true"
          ? matching.slice(Math.max(0, matching.length - from - most), Math.max(0, matching.length - from)).toReversed()
          : matching.slice(from, from + most);
      return { counts, total: matching.length, rows };
    },
  );
  const params = { type: "object", properties: { id: { type: "string", maxLength: 100 } }, required: ["id"] };
  app.delete<{ Params: { id: string } }>(
    "/v1/labelled/:id",
    { schema: { tags, summary: "Take a row back", params, response } },
    async ({ params: { id } }) => {
      if (await reviewOf(context).labelled.remove(id)) return { removed: id };
      throw new Problem("not-found", "There is no such row.");
    },
  );
  const format = { type: "object", properties: { format: { enum: EXPORT_FORMATS } }, required: ["format"] };
  app.get<{ Params: { format: ExportFormat } }>(
    "/v1/labelled/export/:format",
    {
      schema: {
        ...{ tags, summary: "The judged rows for other programs", params: format },
        response: {
          ...answers("The rows: label-studio is JSON, the others have a row a line.", {
            "application/json": { type: "array", items: OBJECT },
            "application/x-ndjson": LINES,
          }),
          ...refusals,
        },
      },
    },
    async (request, reply) => {
      const { type, text } = exportedRows(reviewOf(context).labelled.rows(), request.params.format);
      return reply.type(`${type}; charset=utf-8`).send(text);
    },
  );
}

function relationsOf(verdict: Verdict, relations: string[] | undefined, noRelation: string | null): string[] {
  if (verdict !== "rejected") return relations ?? [];
  if (noRelation === null) {
    throw new Problem("unusable", 'The run has no label for "no relation", so that a pair cannot be rejected.', {
      hint: "Correct it with the relation that holds.",
    });
  }
  return [noRelation];
}
