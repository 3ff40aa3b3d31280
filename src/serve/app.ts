import multipart from "@fastify/multipart";
import swagger from "@fastify/swagger";
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import { createBurstGate } from "../base/loop-turns.ts";
import { type Access, addAccess } from "./access.ts";
import type { ServeContext } from "./context.ts";
import { Problem, problemDocument, problemOf } from "./problem.ts";
import { refuseAddress, refuseConnection } from "./refusals.ts";
import { addChatCompletionsRoute } from "./routes/chat-completions.ts";
import { addCompletionsRoute } from "./routes/completions.ts";
import { addDatasetsRoute } from "./routes/datasets.ts";
import { addDocsRoutes } from "./routes/docs.ts";
import { addDocumentsRoute } from "./routes/documents.ts";
import { addExtractRoute } from "./routes/extract.ts";
import { addHealthRoutes } from "./routes/health.ts";
import { addLabelledRoutes } from "./routes/labelled.ts";
import { addMetricsRoute } from "./routes/metrics.ts";
import { addModelsRoutes } from "./routes/models.ts";
import { addPageRoutes } from "./routes/page.ts";
import { addRetrainRoutes } from "./routes/retrain.ts";
import { addRunReportRoute } from "./routes/run-report.ts";
import { addRunsRoute } from "./routes/runs.ts";
import { addUncertainRoute } from "./routes/uncertain.ts";
import { documentedRoute } from "./schemas.ts";

/** Headers must have come by then, and a whole request: what a slow writer may hold. */
const HEADERS_MS = 10_000;
const KEEP_ALIVE_MS = 72_000;
/** No address is longer: Node takes no more bytes of headers. */
const MAX_ADDRESS = 16_384;

const ABOUT = {
  title: "cre-llm",
  description: "Relations of Chinese texts by fine-tuned language models. Probabilities are calibrated as the run is.",
};

/** The server without a socket: routes, checks, errors, description. */
export async function createApp(
  context: ServeContext,
  access: Access,
  logger: FastifyBaseLogger,
): Promise<FastifyInstance> {
  const { limits, version, metrics } = context;
  const app: FastifyInstance = fastify({
    loggerInstance: logger,
    // One line an answered request is written below, without query and body.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: { headersTimeout: HEADERS_MS, connectionsCheckingInterval: 2_000 },
    requestIdHeader: false,
    forceCloseConnections: "idle",
    return503OnClosing: true,
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    frameworkErrors: refuseAddress,
    clientErrorHandler: refuseConnection,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, strict: false } },
    // A parameter that is too long is told by the check of its route, as all of its mistakes are.
    routerOptions: { maxParamLength: MAX_ADDRESS, ignoreTrailingSlash: true },
  });
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error);
    // The stream of an answer ends with an error when its client has gone away: that is no fault.
    if (problem.code === "fault" && !reply.raw.destroyed) request.log.error(error);
    if (problem.retryAfterSeconds !== undefined) reply.header("retry-after", String(problem.retryAfterSeconds));
    reply.code(problem.status).type("application/problem+json").send(problemDocument(problem, request.id));
  });
  app.setNotFoundHandler((request) => {
    throw new Problem("not-found", `There is no ${request.method} ${request.url.split("?")[0].slice(0, 200)}.`, {
      hint: "GET /docs lists what there is.",
    });
  });
  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "unknown";
    metrics.request(route, request.method, reply.statusCode, reply.elapsedTime / 1000);
    const { statusCode: status, elapsedTime } = reply;
    request.log.info({ method: request.method, route, status, ms: Math.round(elapsedTime) }, "answered");
  });
  // A thousand requests that come at once are read in one turn of the event loop; they are not worked on in one.
  const inTurn = createBurstGate();
  app.addHook("onRequest", (_request, _reply, done) => inTurn(done));
  addAccess(app, access);
  await app.register(multipart);
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { ...ABOUT, version },
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      ...(access.tokens.length > 0 ? { security: [{ token: [] }] } : {}),
    },
    transform: ({ schema, url }) => ({ schema: documentedRoute(schema), url }),
  });
  // Routes are described once the plugin above is there.
  await app.register(async (routes) => {
    addHealthRoutes(routes, context);
    addMetricsRoute(routes, context);
    addDocsRoutes(routes);
    addPageRoutes(routes);
    addRunsRoute(routes, context);
    addRunReportRoute(routes, context);
    addExtractRoute(routes, context);
    addDocumentsRoute(routes, context);
    addDatasetsRoute(routes, context);
    addLabelledRoutes(routes, context);
    addUncertainRoute(routes, context);
    addRetrainRoutes(routes, context);
    addModelsRoutes(routes, context);
    addCompletionsRoute(routes, context);
    addChatCompletionsRoute(routes, context);
  });
  await app.ready();
  return app;
}
