import { existsSync } from "node:fs";
import type { FastifyInstance } from "fastify";
import { labelSetToJson } from "../../data/label-set.ts";
import type { ServeContext } from "../context.ts";
import type { ServedRun } from "../served-run.ts";

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
  },
};

/** What a client may know of a run; no path. */
export function runInfo({ name, run, fingerprint, mentions }: ServedRun) {
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
  };
}

/** GET /v1/runs: the runs of the server. */
export function addRunsRoute(app: FastifyInstance, { runs, version }: ServeContext): void {
  const response = {
    200: {
      type: "object",
      properties: {
        version: { type: "string" },
        sharedBases: { type: "integer" },
        runs: { type: "array", items: RUN },
      },
    },
  };
  app.get("/v1/runs", { schema: { tags: ["runs"], summary: "The runs of the server", response } }, async () => ({
    version,
    sharedBases: runs.sharedBases,
    runs: runs.all().map(runInfo),
  }));
}
