import { existsSync } from "node:fs";
import type { FastifyInstance } from "fastify";
import { labelSetToJson } from "../../data/label-set.ts";
import type { ServeContext } from "../context.ts";
import { runSummary } from "../run-summary.ts";
import { problems } from "../schemas.ts";
import type { ServedRun } from "../served-run.ts";
import type { RunInfo, ServerInfo } from "../server-info.ts";

const RUN = {
  type: "object",
  properties: {
    name: { type: "string" },
    fingerprint: { type: "string" },
    labels: { type: "object", additionalProperties: true },
    base: { type: ["string", "null"], description: "Name of the base model." },
    method: { type: "string" },
    findsMentions: { type: "boolean" },
    isCalibrated: { type: "boolean" },
    hasReport: { type: "boolean" },
    maxPromptTokens: { type: "integer" },
    backend: { type: "string" },
    retraining: {
      type: ["string", "null"],
      description: "The retraining that it was switched to; null for the run that the server was started with.",
    },
    servedSince: { type: "string", description: "ISO 8601." },
    trainedAt: { type: ["string", "null"], description: "ISO 8601." },
    steps: { type: ["integer", "null"] },
    evaluation: {
      type: ["object", "null"],
      description: "F1 of the last evaluation, with that of simple answers on the same rows.",
      additionalProperties: true,
    },
  },
};

/** What a client may know of a run; no path. */
export async function runInfo({ name, run, fingerprint, mentions, retraining, openedAt }: ServedRun): Promise<RunInfo> {
  const { recipe, labels, calibration, folder, extractor } = run;
  return {
    ...{ name, fingerprint, labels: labelSetToJson(labels) },
    base: recipe.model.path?.split(/[/\\]/).at(-1) ?? null,
    method: recipe.adapter.method,
    findsMentions: mentions !== null,
    isCalibrated: calibration !== null,
    hasReport: existsSync(folder.report),
    maxPromptTokens: recipe.prompt.maxPromptTokens,
    backend: extractor.arithmetic ?? "",
    retraining,
    servedSince: new Date(1000 * openedAt).toISOString(),
    ...(await runSummary(run)),
  };
}

/** GET /v1/runs: the runs of the server. */
export function addRunsRoute(app: FastifyInstance, context: ServeContext): void {
  const response = {
    200: {
      type: "object",
      properties: {
        version: { type: "string" },
        sharedBases: { type: "integer" },
        keepsLabelled: { type: "boolean", description: "Whether corrections are kept (--work)." },
        hasEntities: { type: "boolean", description: "Whether texts without entities get the server's (--entities)." },
        limits: { type: "object", additionalProperties: { type: "integer" } },
        runs: { type: "array", items: RUN },
      },
    },
    ...problems(),
  };
  const { textCharacters, fileBytes, pairs, entities } = context.limits;
  const summary = "The runs of the server";
  app.get(
    "/v1/runs",
    { schema: { tags: ["runs"], summary, response } },
    async (): Promise<ServerInfo> => ({
      version: context.version,
      sharedBases: context.runs.sharedBases,
      keepsLabelled: context.review !== null,
      hasEntities: context.entities !== null,
      limits: { textCharacters, fileBytes, pairs, entities },
      runs: await Promise.all(context.runs.all().map(runInfo)),
    }),
  );
}
