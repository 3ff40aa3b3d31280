import { setTimeout as sleep } from "node:timers/promises";
import { createFairQueue, type FairQueue } from "./fair-queue.ts";
import type { ServeLimits } from "./limits.ts";
import { Problem } from "./problem.ts";

/** One item that waits for its result. */
export interface Job<T, R> {
  item: T;
  settle(result: R): void;
  fail(error: unknown): void;
}

/** One kind of work of one run: what waits for it is computed together. */
export interface Lane<T, R> {
  readonly name: string;
  costOf(item: T): number;
  /** How much one turn may take now; null while nothing more can join. */
  bounds(): { items: number; cost: number } | null;
  /** Computes; each job is settled now or in a later turn. `jobs` is empty for a lane that is live without new ones. */
  turn(jobs: readonly Job<T, R>[]): Promise<void>;
  /** Whether work of earlier turns continues without new jobs. */
  isLive?(): boolean;
}

/** What the scheduler tells about a turn. */
export interface TurnReport {
  lane: string;
  items: number;
  milliseconds: number;
}

/** The right of a request to be computed. Close it when the request has ended. */
export interface Ticket {
  /** Aborts when the client goes away or the time is over. */
  readonly signal: AbortSignal;
  /** Results in the order of the items. Throws a Problem when the request ends before. */
  ask<T, R>(lane: Lane<T, R>, items: readonly T[]): Promise<R[]>;
  close(): void;
}

export interface Scheduler {
  /** Throws a Problem for a request that cannot wait: 429 when too many do, 503 while the server stops. `pairs` is how much it will ask. */
  admit(request: { client: string; pairs: number; gone?: AbortSignal; timeoutMs?: number }): Ticket;
  /** Requests that were admitted and have not ended. */
  readonly requests: number;
  /** Items that wait, by the name of the lane. */
  waiting(): ReadonlyMap<string, number>;
  /** Admits nothing more; resolves when the admitted requests have ended, or cancels them after the time. */
  stop(drainMs: number): Promise<void>;
}

/** Time for requests that come together to share a turn, once several did. */
const GATHER_MS = 6;

type AnyLane = Lane<unknown, unknown>;
interface Open {
  queue: FairQueue<Job<unknown, unknown>>;
  /** Requests whose items the last turn took. */
  together: number;
}

/** Computes the work of all requests in turns, one at a time: lanes in rotation, clients in rotation inside a lane. */
export function createScheduler(
  limits: Pick<ServeLimits, "requests" | "queuedPairs" | "requestMs">,
  onTurn: (report: TurnReport) => void = () => {},
): Scheduler {
  const lanes = new Map<AnyLane, Open>();
  const tickets = new Set<{ client: string; pairs: number; end(problem: Problem): void }>();
  let isStopping = false;
  let isRunning = false;
  /** Items that a millisecond computes, a moving mean; for Retry-After. */
  let rate = 0;
  const waitingItems = () => Array.from(lanes.values()).reduce((sum, { queue }) => sum + queue.items, 0);

  const openLane = (lane: AnyLane): Open => {
    let open = lanes.get(lane);
    if (!open) {
      open = { queue: createFairQueue((job) => lane.costOf(job.item)), together: 0 };
      lanes.set(lane, open);
    }
    return open;
  };

  const nextLane = (): [AnyLane, Open] | null => {
    for (const [lane, open] of lanes) {
      const canJoin = open.queue.items > 0 && lane.bounds() !== null;
      if (!canJoin && !lane.isLive?.()) continue;
      // The order of a Map is the order of the turns.
      lanes.delete(lane);
      lanes.set(lane, open);
      return [lane, open];
    }
    return null;
  };

  const run = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    try {
      for (;;) {
        // Requests that have arrived meanwhile are read first.
        await new Promise((done) => setImmediate(done));
        const next = nextLane();
        if (next === null) return;
        const [lane, open] = next;
        if (!lane.isLive?.()) await gather(open);
        const bounds = lane.bounds();
        const before = open.queue.requests;
        const jobs = bounds === null ? [] : open.queue.take(bounds);
        open.together = before;
        if (jobs.length === 0 && !lane.isLive?.()) continue;
        const started = performance.now();
        try {
          await lane.turn(jobs);
        } catch (error) {
          for (const job of jobs) job.fail(error);
        }
        const milliseconds = performance.now() - started;
        if (jobs.length > 0) rate = 0.8 * rate + (0.2 * jobs.length) / Math.max(1, milliseconds);
        onTurn({ lane: lane.name, items: jobs.length, milliseconds });
      }
    } finally {
      isRunning = false;
    }
  };

  const retryAfterSeconds = () => {
    const milliseconds = rate > 0 ? waitingItems() / rate : 1000;
    return Math.min(60, Math.max(1, Math.ceil(milliseconds / 1000)));
  };

  return {
    get requests() {
      return tickets.size;
    },
    waiting: () => new Map(Array.from(lanes, ([{ name }, { queue }]) => [name, queue.items])),
    admit({ client, pairs, gone, timeoutMs = limits.requestMs }) {
      if (isStopping) {
        throw new Problem("stopping", "The server is stopping.", { hint: "Ask again later.", retryAfterSeconds: 5 });
      }
      if (tickets.size >= limits.requests) {
        throw new Problem("queue-full", `${tickets.size} requests are in progress, the most that the server takes.`, {
          hint: "Ask again after the time in Retry-After.",
          retryAfterSeconds: retryAfterSeconds(),
        });
      }
      let [all, own] = [0, 0];
      for (const ticket of tickets) {
        all += ticket.pairs;
        if (ticket.client === client) own += ticket.pairs;
      }
      const isShareFull = own > 0 && own + pairs > limits.queuedPairs / 2;
      if (isShareFull || (all > 0 && all + pairs > limits.queuedPairs)) {
        const whose = isShareFull ? `${own} pairs of this client` : `${all} pairs`;
        throw new Problem(
          "queue-full",
          `${whose} wait already, expected at most ${limits.queuedPairs} of all clients.`,
          {
            hint: "Ask again after the time in Retry-After, or send fewer pairs at once.",
            retryAfterSeconds: retryAfterSeconds(),
          },
        );
      }
      const controller = new AbortController();
      const { signal } = controller;
      const mark = { client, pairs, end: (problem: Problem) => controller.abort(problem) };
      const onGone = () => mark.end(new Problem("cancelled", "The client went away."));
      if (gone?.aborted) onGone();
      else gone?.addEventListener("abort", onGone, { once: true });
      const clock = setTimeout(() => {
        const hint = "Send fewer pairs or a shorter text at once, or ask when the server has less to do.";
        mark.end(
          new Problem("timed-out", `No answer after ${timeoutMs} ms (limit requestMs).`, {
            hint,
            retryAfterSeconds: 5,
          }),
        );
      }, timeoutMs);
      clock.unref();
      const request = {};
      tickets.add(mark);
      return {
        signal,
        ask: <T, R>(lane: Lane<T, R>, items: readonly T[]): Promise<R[]> => {
          const own = openLane(lane as AnyLane);
          return new Promise<R[]>((done, fail) => {
            if (signal.aborted) return fail(signal.reason);
            if (items.length === 0) return done([]);
            const results: R[] = new Array(items.length);
            let left = items.length;
            const onAbort = () => {
              own.queue.drop(request);
              fail(signal.reason);
            };
            signal.addEventListener("abort", onAbort, { once: true });
            const end = (settle: () => void) => {
              signal.removeEventListener("abort", onAbort);
              settle();
            };
            const jobs = items.map((item, i) => ({
              item,
              settle(result: R) {
                results[i] = result;
                if (--left === 0) end(() => done(results));
              },
              fail: (error: unknown) => end(() => fail(error)),
            }));
            own.queue.add(client, request, jobs as unknown as Job<unknown, unknown>[]);
            void run();
          });
        },
        close() {
          clearTimeout(clock);
          gone?.removeEventListener("abort", onGone);
          tickets.delete(mark);
        },
      };
    },
    async stop(drainMs) {
      isStopping = true;
      const until = performance.now() + drainMs;
      while (tickets.size > 0 && performance.now() < until) await sleep(20);
      for (const ticket of tickets) ticket.end(new Problem("stopping", "The server has stopped."));
      while (isRunning) await sleep(5);
    },
  };
}

/** Waits a moment for the number of requests that came together last time: clients that got their answers in one turn ask again at the same time. */
async function gather({ queue, together }: Open): Promise<void> {
  const until = performance.now() + GATHER_MS;
  while (together > 1 && queue.requests < together && performance.now() < until) await sleep(1);
}
