import type { FastifyReply, FastifyRequest } from "fastify";
import { nearestName } from "../base/errors.ts";
import type { Entities } from "../documents/entities.ts";
import { clientOf } from "./access.ts";
import type { Datasets } from "./datasets/datasets.ts";
import type { ServeLimits } from "./limits.ts";
import type { ServeMetrics } from "./metrics.ts";
import { Problem } from "./problem.ts";
import type { LabelledSet } from "./review/labelled-set.ts";
import type { Retraining } from "./review/retraining.ts";
import type { Scheduler, Ticket } from "./scheduler.ts";
import type { ServedRun, ServedRuns } from "./served-run.ts";

/** What every route works with. */
export interface ServeContext {
  runs: ServedRuns;
  scheduler: Scheduler;
  metrics: ServeMetrics;
  limits: ServeLimits;
  /** Names that the server was started with; null without them. */
  entities: Entities | null;
  /** The data folders that the runs were trained on. */
  datasets: Datasets;
  /** The labelled set and retraining; null for a server without --work. */
  review: { labelled: LabelledSet; retraining: Retraining } | null;
  version: string;
  /** Whether new requests are taken. */
  isReady(): boolean;
}

/** The run that a request names; the only one where it names none. Throws a Problem. */
export function runOf({ runs }: Pick<ServeContext, "runs">, name: string | undefined): ServedRun {
  const all = runs.all();
  if (name === undefined && all.length === 1) return all[0];
  const run = name === undefined ? undefined : runs.get(name);
  if (run) return run;
  const names = all.map((one) => one.name);
  const nearest = name === undefined ? null : nearestName(name.slice(0, 100), names);
  const got = name === undefined ? "The request names no run" : `There is no run ${JSON.stringify(name.slice(0, 100))}`;
  throw new Problem(name === undefined ? "bad-request" : "not-found", `${got}, expected one of: ${names.join(", ")}.`, {
    hint: nearest === null ? "GET /v1/runs lists them." : `Did you mean "${nearest}"?`,
  });
}

/** Throws a Problem for a server that keeps nothing. */
export function reviewOf({ review }: Pick<ServeContext, "review">): NonNullable<ServeContext["review"]> {
  if (review) return review;
  throw new Problem("not-found", "The server keeps no labelled set.", { hint: "Start it with --work DIR." });
}

/** Admits a request; its ticket ends with the answer, or when the client goes away. */
export function admit(
  { scheduler }: Pick<ServeContext, "scheduler">,
  request: FastifyRequest,
  reply: FastifyReply,
  pairs: number,
  timeoutMs?: number,
): Ticket {
  const gone = new AbortController();
  const ticket = scheduler.admit({ client: clientOf(request), pairs, gone: gone.signal, timeoutMs });
  const { socket } = request.raw;
  // Node ends the connection of a client that has closed its side: no answer can be written, and "close" may not come by itself.
  const drop = () => reply.raw.destroy();
  const end = () => {
    socket.off("end", drop);
    if (!reply.raw.writableFinished) gone.abort();
    ticket.close();
  };
  reply.raw.once("close", end);
  socket.once("end", drop);
  // A client can be gone before its request was read to the end.
  if (reply.raw.destroyed || socket.destroyed || socket.readableEnded) {
    drop();
    end();
  }
  return ticket;
}
