import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Addition, addDocuments } from "./add.ts";
import type { QueueExtraction, Task } from "./extraction.ts";
import { jobCounts } from "./jobs.ts";
import { createQueue, findQueue, type OpenQueues, openQueues, type Queue } from "./queues.ts";
import { statusOf } from "./status.ts";
import { type WorkOptions, work } from "./worker.ts";

// What becomes of documents whose workers fail, end or are slow, on the embedded database.

const root = mkdtempSync(join(tmpdir(), "cre-worker-"));
const settings = {
  ...{ entities: [], overlap: "longest" as const, window: 1, maxPairs: 1, minProbability: 0, precision: null },
  ...{ types: null, batch: 4 },
};
const options: WorkOptions = {
  ...{ batch: 4, leaseSeconds: 60, untilEmpty: true, patienceSeconds: 1, arithmetic: "test" },
};
let queues: OpenQueues;
let queue: Queue;
let number = 0;

beforeAll(async () => {
  queues = await openQueues(join(root, "store"));
}, 60_000);
beforeEach(async () => {
  const name = `queue-${++number}`;
  await createQueue(queues, { name, kind: "rows", settings }, []);
  queue = await findQueue(queues, name);
});
afterAll(async () => {
  await queues?.close();
  rmSync(root, { recursive: true });
});

async function add(count: number, maxWaiting = Number.POSITIVE_INFINITY) {
  async function* additions(): AsyncGenerator<Addition> {
    for (let i = 0; i < count; i++) yield { key: `document ${i}`, payload: JSON.stringify(i) };
  }
  return addDocuments(queues, queue, additions(), { maxWaiting });
}

/** Gives each document a line with its key; `before` hears of each batch first. */
const extraction = (before: (tasks: readonly Task[]) => unknown = () => {}): QueueExtraction => ({
  async extract(tasks) {
    await before(tasks);
    return { lines: tasks.map(({ key }) => `${key}\n`), counts: {} };
  },
});

/** All lines of the queue's results in the order of its documents. */
async function results(): Promise<string[]> {
  const rows = await queues.store.query<{ lines: string }>(
    "select r.lines from cre.result r join cre.document d on d.id = r.document where d.queue = $1 order by d.id",
    [queue.name],
  );
  return rows.map(({ lines }) => lines.trimEnd());
}

const keys = (count: number) => Array.from({ length: count }, (_, i) => `document ${i}`);

describe("a document that fails", () => {
  it("is told from its neighbours, tried four times alone, and becomes a dead letter with its reason", async () => {
    await add(12);
    const alone: number[] = [];
    const failing = extraction((tasks) => {
      if (!tasks.some(({ key }) => key === "document 5")) return;
      alone.push(tasks.length);
      throw new Error("cannot be read, for a test");
    });
    const counts = await work(queues, queue, failing, options);
    expect(alone).toEqual([4, 1, 1, 1, 1]);
    expect(counts).toMatchObject({ documents: 11, failed: 5, dropped: 0 });
    expect(await results()).toEqual(keys(12).filter((key) => key !== "document 5"));
    const status = await statusOf(queues.store, queue);
    expect(status).toMatchObject({ documents: 12, done: 11, failed: 1, waiting: 0, active: 0 });
    expect(status.failures).toEqual([{ key: "document 5", reason: "cannot be read, for a test" }]);

    expect(await queues.store.transaction((sql) => queues.jobs.retryFailed(queue.name, sql))).toBe(1);
    await work(queues, queue, extraction(), options);
    expect(await results()).toEqual(keys(12));
    expect(await statusOf(queues.store, queue)).toMatchObject({ done: 12, failed: 0 });
  }, 60_000);
});

describe("a worker that is silent for its lease", () => {
  const silence = () =>
    queues.store.query("update cre.worker set seen_at = now() - interval '1 hour' where queue = $1", [queue.name]);

  it("loses its documents to another one, and its late result counts nothing", async () => {
    await add(4);
    let goOn = () => {};
    const isDone = new Promise<void>((done) => {
      goOn = done;
    });
    let begun = () => {};
    const hasBegun = new Promise<void>((done) => {
      begun = done;
    });
    const slow = work(
      queues,
      queue,
      extraction(() => {
        begun();
        return isDone;
      }),
      options,
    );
    await hasBegun;
    await silence();
    const other = await work(queues, queue, extraction(), options);
    expect(other).toMatchObject({ documents: 4, recovered: 4 });
    goOn();
    expect(await slow).toMatchObject({ documents: 0, dropped: 1 });
    expect(await results()).toEqual(keys(4));
    expect(await statusOf(queues.store, queue)).toMatchObject({ documents: 4, done: 4, failed: 0, workers: [] });
  }, 60_000);

  it("tells that it lives several times in a lease", async () => {
    await add(1);
    let longest = 0;
    const watching = extraction(async () => {
      for (let i = 0; i < 12; i++) {
        await sleep(100);
        const { workers } = await statusOf(queues.store, queue);
        longest = Math.max(longest, workers[0].silentSeconds);
      }
    });
    await work(queues, queue, watching, { ...options, leaseSeconds: 2 });
    expect(longest).toBeGreaterThan(0);
    expect(longest).toBeLessThan(2);
  }, 60_000);
});

describe("a reader that is faster than the workers", () => {
  it("waits while the given number of documents waits", async () => {
    let most = 0;
    const adding = add(1400, 200);
    let isAdded = false;
    const added = adding.then((counts) => {
      isAdded = true;
      return counts;
    });
    const watching = extraction(async () => {
      most = Math.max(most, (await jobCounts(queues.store, queue.name)).waiting);
    });
    while (!isAdded) {
      await work(queues, queue, watching, { ...options, batch: 50 });
      await sleep(50);
    }
    expect(await added).toEqual({ added: 1400, known: 0, bad: 0 });
    await work(queues, queue, watching, { ...options, batch: 50 });
    // Documents are added 500 at a time.
    expect(most).toBeLessThan(200 + 500);
    expect(await results()).toHaveLength(1400);
  }, 60_000);
});
