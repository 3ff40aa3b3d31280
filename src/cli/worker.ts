import type { Command } from "commander";
import { openExtraction } from "../queue/extraction.ts";
import { claimForRun, findQueue, openQueues, queueFiles } from "../queue/queues.ts";
import { patiently } from "../queue/sql.ts";
import { LEASE_SECONDS, work } from "../queue/worker.ts";
import type { DecodeSettings, ModelStorage } from "../recipe/answer-schema.ts";
import { runFingerprint } from "../runs/fingerprint.ts";
import { openRun } from "../runs/run.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { decodeOf, productsOption, showLoading, storageOption } from "./loading.ts";
import { parseCount } from "./options.ts";
import { storeOption } from "./queue-text.ts";
import { duration, progress, say, warn } from "./terminal.ts";

interface WorkerOptions {
  store: string;
  queue?: string;
  untilEmpty?: boolean;
  batch?: number;
  lease: number;
  patience: number;
  storage?: ModelStorage;
  products?: DecodeSettings["precision"];
}

export function addWorkerCommand(program: Command): void {
  program
    .command("worker")
    .description("extract documents of a queue until stopped; start one on every machine")
    .argument("<run>", "run folder")
    .addOption(storeOption())
    .option("--queue <name>", "name of the queue (default: the only one)")
    .option("--until-empty", "end when all documents are done")
    .option("--batch <n>", "documents claimed at a time (default: the queue's)", parseCount)
    .option("--lease <seconds>", "a worker that is silent so long is taken for lost", parseCount, LEASE_SECONDS)
    .option("--patience <seconds>", "how long the database may be away", parseCount, 600)
    .addOption(storageOption("the recipe's"))
    .addOption(productsOption())
    .action(startWorker);
}

async function startWorker(directory: string, options: WorkerOptions): Promise<void> {
  const patience = {
    limitMs: 1000 * options.patience,
    onAway: (error: Error) => warn(`the database is away, trying again (${error.message})`),
  };
  const queues = await openQueues(options.store, { keepHouse: true, patience });
  const stop = watchForStop({ onSignal: () => say("stopping after this batch; Ctrl-C again stops at once") });
  try {
    const queue = await patiently(() => findQueue(queues, options.queue), patience);
    const run = await openRun(directory, {
      onNotice: warn,
      onLoad: showLoading(),
      storage: options.storage,
      decode: decodeOf(options),
    });
    try {
      const fingerprint = await runFingerprint(run);
      await patiently(() => claimForRun(queues.store, queue, fingerprint, directory), patience);
      const files = await patiently(() => queueFiles(queues.store, queue.name), patience);
      const extraction = await openExtraction(run, fingerprint, queue, files, warn);
      const started = performance.now();
      const batch = options.batch ?? queue.settings.batch;
      say(`working on ${queue.name}, ${batch} ${queue.kind} at a time`);
      const bar = progress(queue.name, null);
      const counts = await work(queues, queue, extraction, {
        batch,
        leaseSeconds: options.lease,
        untilEmpty: options.untilEmpty ?? false,
        patienceSeconds: options.patience,
        arithmetic: run.extractor.arithmetic ?? "unknown",
        signal: stop.signal,
        onNotice: (text) => bar.line(`note: ${text}`),
        onProgress(now) {
          bar.update(now.documents, `${(now.documents / ((performance.now() - started) / 1000)).toFixed(1)}/s`);
        },
      }).finally(() => bar.stop());
      const parts = [`${counts.documents} ${queue.kind} in ${counts.batches} batches`];
      if (counts.recovered > 0) parts.push(`${counts.recovered} of lost workers put back`);
      if (counts.failed > 0) parts.push(`${counts.failed} batches failed`);
      if (counts.dropped > 0) parts.push(`${counts.dropped} batches came too late`);
      say(`${parts.join(", ")}; ${duration((performance.now() - started) / 1000)}`);
    } finally {
      await run.close();
    }
  } finally {
    stop.close();
    await queues.close();
  }
}
