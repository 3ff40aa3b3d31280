import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Problem } from "./problem.ts";
import { createScheduler, type Lane } from "./scheduler.ts";

const LIMITS = { requests: 8, queuedPairs: 100, requestMs: 5000 };

/** Doubles numbers; keeps what each turn took. A turn takes `turnMs`. */
function doubling(turnMs = 5, items = 4): Lane<number, number> & { turns: number[][] } {
  const turns: number[][] = [];
  return {
    ...{ name: "double", turns, costOf: () => 1 },
    bounds: () => ({ items, cost: 1000 }),
    async turn(jobs) {
      turns.push(jobs.map(({ item }) => item));
      await sleep(turnMs);
      for (const job of jobs) job.settle(2 * job.item);
    },
  };
}

const codeOf = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    return (error as Problem).code;
  }
  return null;
};

describe("the scheduler", () => {
  it("computes requests that arrive together in one turn, each with its own results", async () => {
    const scheduler = createScheduler(LIMITS);
    const lane = doubling();
    const tickets = [1, 2, 3].map((client) => scheduler.admit({ client: `${client}`, pairs: 1 }));
    const answers = await Promise.all(tickets.map((ticket, i) => ticket.ask(lane, [i, i + 10])));
    expect(answers).toEqual([
      [0, 20],
      [2, 22],
      [4, 24],
    ]);
    expect(lane.turns).toEqual([
      [0, 1, 2, 10],
      [11, 12],
    ]);
  });

  it("lets a short request pass a long one", async () => {
    const scheduler = createScheduler(LIMITS);
    const lane = doubling();
    const long = scheduler.admit({ client: "a", pairs: 40 });
    const short = scheduler.admit({ client: "a", pairs: 1 });
    const order: string[] = [];
    const numbers = Array.from({ length: 40 }, (_, i) => i);
    const longDone = long.ask(lane, numbers).then((all) => order.push(`long ${all.length}`));
    await sleep(12);
    await short.ask(lane, [100]).then(() => order.push("short"));
    await longDone;
    expect(order).toEqual(["short", "long 40"]);
    expect(lane.turns.findIndex((turn) => turn.includes(100))).toBeLessThan(6);
  });

  it("refuses what cannot wait, and says when to ask again", async () => {
    const scheduler = createScheduler(LIMITS);
    const tickets = Array.from({ length: 8 }, (_, i) => scheduler.admit({ client: `${i}`, pairs: 1 }));
    expect(codeOf(() => scheduler.admit({ client: "x", pairs: 1 }))).toBe("queue-full");
    for (const ticket of tickets) ticket.close();
    expect(scheduler.requests).toBe(0);
    const big = scheduler.admit({ client: "a", pairs: 90 });
    expect(codeOf(() => scheduler.admit({ client: "b", pairs: 20 }))).toBe("queue-full");
    big.close();
    scheduler.admit({ client: "a", pairs: 40 });
    expect(codeOf(() => scheduler.admit({ client: "a", pairs: 20 }))).toBe("queue-full");
    expect(codeOf(() => scheduler.admit({ client: "b", pairs: 20 }))).toBeNull();
    try {
      scheduler.admit({ client: "a", pairs: 20 });
    } catch (error) {
      expect(error).toMatchObject({ status: 429, retryAfterSeconds: 1 });
    }
  });

  it("drops the work of a client that went away, and of a request that takes too long", async () => {
    const scheduler = createScheduler(LIMITS);
    const lane = doubling(20, 1);
    const gone = new AbortController();
    const leaving = scheduler.admit({ client: "a", pairs: 9, gone: gone.signal });
    const slow = scheduler.admit({ client: "b", pairs: 9, timeoutMs: 30 });
    const answers = Promise.allSettled([leaving.ask(lane, [1, 2, 3, 4, 5]), slow.ask(lane, [11, 12, 13, 14, 15])]);
    await sleep(10);
    gone.abort();
    const [left, timedOut] = await answers;
    expect(left).toMatchObject({ status: "rejected", reason: { code: "cancelled" } });
    expect(timedOut).toMatchObject({ status: "rejected", reason: { code: "timed-out", status: 503 } });
    await sleep(50);
    expect(lane.turns.flat().length).toBeLessThan(5);
    expect(scheduler.waiting().get("double")).toBe(0);
  });

  it("gives an error of a turn to its requests, and computes on", async () => {
    const scheduler = createScheduler(LIMITS);
    const lane = doubling();
    const turn = lane.turn.bind(lane);
    lane.turn = async (jobs) => {
      if (jobs.some(({ item }) => item < 0)) throw new Problem("unusable", "negative");
      await turn(jobs);
    };
    const ticket = scheduler.admit({ client: "a", pairs: 1 });
    await expect(ticket.ask(lane, [-1])).rejects.toThrow("negative");
    await expect(ticket.ask(lane, [4])).resolves.toEqual([8]);
  });

  it("ends what is in progress when it stops, and admits nothing more", async () => {
    const scheduler = createScheduler(LIMITS);
    const lane = doubling(10, 1);
    const ticket = scheduler.admit({ client: "a", pairs: 2 });
    const answer = ticket.ask(lane, [1, 2]).finally(() => ticket.close());
    const stopped = scheduler.stop(1000);
    expect(codeOf(() => scheduler.admit({ client: "b", pairs: 1 }))).toBe("stopping");
    await stopped;
    await expect(answer).resolves.toEqual([2, 4]);
    const late = createScheduler(LIMITS);
    const endless = late.admit({ client: "a", pairs: 1 }).ask(doubling(5, 1), new Array(1000).fill(1));
    const [outcome] = await Promise.allSettled([endless, late.stop(30)]);
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "stopping" } });
  });
});
