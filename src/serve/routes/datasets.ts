import { basename } from "node:path";
import type { FastifyInstance } from "fastify";
import { openDataset } from "../../data/dataset.ts";
import type { Run } from "../../runs/run.ts";
import type { ServeContext } from "../context.ts";
import { problems } from "../schemas.ts";

/** GET /v1/datasets: the data that the runs were trained on, counted. */
export function addDatasetsRoute(app: FastifyInstance, context: ServeContext): void {
  const response = { 200: { type: "object", additionalProperties: true }, ...problems(401) };
  const schema = { tags: ["runs"], summary: "Rows and labels of the runs' data", response };
  app.get("/v1/datasets", { schema }, async () => {
    const datasets: object[] = [];
    for (const { name, run } of context.runs.all()) datasets.push(await statisticsOf(name, run));
    const reviewed = context.review?.labelled.rows() ?? [];
    return { datasets, labelled: { rows: reviewed.length, labels: countsOf(reviewed) } };
  });
}

async function statisticsOf(name: string, { recipe, labels }: Pick<Run, "recipe" | "labels">) {
  const { path, format, normalize } = recipe.data;
  if (path === undefined) return { run: name, problem: "The run does not know where its data is." };
  try {
    const dataset = await openDataset(path, { format, labels, normalize });
    const splits: Record<string, object> = {};
    for (const split of dataset.splitNames) {
      const { examples } = await dataset.split(split, { onBadRow: "skip" });
      const characters = examples.reduce((sum, { sentence }) => sum + sentence.length, 0);
      splits[split] = {
        ...{ rows: examples.length, sentences: new Set(examples.map(({ sentence }) => sentence)).size },
        ...{ meanCharacters: Math.round(characters / Math.max(1, examples.length)), labels: countsOf(examples) },
      };
    }
    return { run: name, data: basename(path), splits };
  } catch {
    return { run: name, data: basename(path), problem: "Its data cannot be read." };
  }
}

function countsOf(rows: readonly { relations?: readonly string[] }[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { relations = [] } of rows) for (const one of relations) counts.set(one, (counts.get(one) ?? 0) + 1);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]));
}
