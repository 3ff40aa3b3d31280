import { basename } from "node:path";
import type { FastifyInstance } from "fastify";
import type { SplitName } from "../../data/split.ts";
import { runOf, type ServeContext } from "../context.ts";
import { Problem } from "../problem.ts";
import { answers, OBJECT, problems } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";

const MOST_ROWS = 200;

interface Query {
  split: SplitName;
  label?: string;
  offset: string;
  limit: string;
}

/** GET /v1/datasets: the data that the runs were trained on, counted; GET /v1/datasets/NAME/rows: rows of it. */
export function addDatasetsRoute(app: FastifyInstance, context: ServeContext): void {
  const schema = {
    tags: ["runs"],
    summary: "Rows, labels and lengths of the runs' data",
    response: { ...answers("The counts of each split.", { "application/json": OBJECT }), ...problems(429) },
  };
  app.get("/v1/datasets", { schema }, async () => {
    const datasets = await Promise.all(context.runs.all().map((served) => summaryOf(context, served)));
    const reviewed = context.review?.labelled.rows() ?? [];
    return { datasets, labelled: { rows: reviewed.length, labels: countsOf(reviewed) } };
  });
  const count = { type: "string", pattern: "^\\d{1,9}$" };
  app.get<{ Params: { name: string }; Querystring: Query }>(
    "/v1/datasets/:name/rows",
    {
      schema: {
        tags: ["runs"],
        summary: "Rows of a run's data",
        description: `A split, or those rows of it that have a label; at most ${MOST_ROWS} at a time.`,
        params: { type: "object", properties: { name: { type: "string", maxLength: 100 } }, required: ["name"] },
        querystring: {
          type: "object",
          properties: {
            split: { enum: ["train", "valid", "test"], default: "train" },
            label: { type: "string", maxLength: 500 },
            offset: { ...count, default: "0" },
            limit: { ...count, default: "20" },
          },
          additionalProperties: false,
        },
        response: { ...answers("The rows.", { "application/json": OBJECT }), ...problems(404, 422, 429) },
      },
    },
    async ({ params, query }) => {
      const { split = "train", label, offset = "0", limit = "20" } = query;
      const { run } = runOf(context, params.name);
      const wanted = { split, label, offset: Number(offset), limit: Math.min(MOST_ROWS, Number(limit)) };
      return { split, offset: wanted.offset, ...(await context.datasets.rows(run, wanted)) };
    },
  );
}

async function summaryOf({ datasets }: Pick<ServeContext, "datasets">, { name, run }: ServedRun) {
  const { path } = run.recipe.data;
  const own = { run: name, ...(path === undefined ? {} : { data: basename(path) }) };
  try {
    return { ...own, splits: await datasets.summaries(run) };
  } catch (error) {
    if (error instanceof Problem) return { ...own, problem: error.message };
    throw error;
  }
}

function countsOf(rows: readonly { relations?: readonly string[] }[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { relations = [] } of rows) for (const one of relations) counts.set(one, (counts.get(one) ?? 0) + 1);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
}
