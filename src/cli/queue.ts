import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../base/errors.ts";
import { readLines, readTextFile } from "../base/files.ts";
import { MAX_ROW_BYTES } from "../data/split.ts";
import { openEntities, parseEntitySource } from "../documents/entities.ts";
import { emptyReadCounts } from "../documents/read/format.ts";
import type { DocumentFormatName } from "../documents/read/formats.ts";
import { readDocuments } from "../documents/read/read-documents.ts";
import { checkExtraction } from "../extract/corpus.ts";
import { checkGraphOutput } from "../graph/extract-graph.ts";
import type { GraphFormat } from "../graph/write.ts";
import { type Addition, addDocuments } from "../queue/add.ts";
import { collectQueue } from "../queue/collect.ts";
import type { DocumentPayload, RowPayload } from "../queue/extraction.ts";
import {
  createQueue,
  findQueue,
  findQueues,
  type OpenQueues,
  openQueues,
  type Queue,
  type QueueFile,
  removeQueue,
  type StoredSource,
} from "../queue/queues.ts";
import { pause } from "../queue/sql.ts";
import { type QueueStatus, statusOf } from "../queue/status.ts";
import { LEASE_SECONDS } from "../queue/worker.ts";
import { watchForStop } from "../runs/stop-signals.ts";
import { DOCUMENT_OPTIONS, type DocumentOptions } from "./extract-documents.ts";
import { parseCount, parseShare } from "./options.ts";
import { queueText, storeOption } from "./queue-text.ts";
import { Interrupted } from "./report.ts";
import { print, printText, progress, say, warn } from "./terminal.ts";

interface StoreOptions {
  store: string;
}

interface CreateOptions extends DocumentOptions, StoreOptions {
  rows?: boolean;
  minProbability: number;
  batch: number;
}

interface AddOptions extends StoreOptions {
  format?: DocumentFormatName;
  textField?: string;
  maxWaiting: number;
}

interface CollectOptions extends StoreOptions {
  output: string;
  to?: GraphFormat[];
  overwrite?: boolean;
  partial?: boolean;
}

/** Options of documents that a queue keeps, and those of reading and of collecting. */
const KEPT_OPTIONS = ["entities", "window", "maxPairs", "precision", "overlap", "types"];
const documentOptions = (names: readonly string[]) =>
  DOCUMENT_OPTIONS.filter((option) => names.includes(option.attributeName()));

export function addQueueCommands(program: Command): void {
  const queue = program.command("queue").description("extract a corpus with many workers: documents in PostgreSQL");
  const create = queue
    .command("create")
    .description("create a queue: how its documents are extracted")
    .argument("<name>", "name of the queue")
    .addOption(storeOption())
    .option("--rows", "rows of {sentence, head, tail} in place of documents")
    .option("--min-probability <p>", "leave out relations with a lower probability", parseShare, 0)
    .option("--batch <n>", "documents that a worker claims at a time", parseCount, 32)
    .action(created);
  for (const option of documentOptions(KEPT_OPTIONS)) create.addOption(option);
  const add = queue
    .command("add")
    .description("add documents; repeat an interrupted call to add the rest")
    .argument("<name>", "name of the queue")
    .argument("<inputs...>", "files, folders or patterns")
    .addOption(storeOption())
    .option("--max-waiting <n>", "wait while this many documents wait (default: no limit)", parseCount)
    .action(added);
  for (const option of documentOptions(["format", "textField"])) add.addOption(option);
  queue
    .command("status")
    .description("what is done, waiting and failed, and which workers are at it")
    .argument("[name]", "name of the queue (default: all)")
    .addOption(storeOption())
    .option("--watch <seconds>", "repeat", parseCount)
    .option("--json", "print JSON")
    .action(showStatus);
  const collect = queue
    .command("collect")
    .description("write the results in the order of the documents")
    .argument("[name]", "name of the queue (default: the only one)")
    .addOption(storeOption())
    .requiredOption("--output <path>", "folder for the graph, or file for rows")
    .option("--overwrite", "replace an existing output")
    .option("--partial", "collect what is there, while documents are missing")
    .action(collected);
  for (const option of documentOptions(["to"])) collect.addOption(option);
  queue
    .command("retry")
    .description("try failed documents again")
    .argument("[name]", "name of the queue (default: the only one)")
    .addOption(storeOption())
    .action(retried);
  queue
    .command("remove")
    .description("remove a queue with its documents and results")
    .argument("<name>", "name of the queue")
    .addOption(storeOption())
    .addOption(new Option("--yes", "without it the queue is only described"))
    .action(removed);
}

async function withQueues<Value>(store: string, act: (queues: OpenQueues) => Promise<Value>): Promise<Value> {
  const queues = await openQueues(store);
  try {
    return await act(queues);
  } finally {
    await queues.close();
  }
}

async function created(name: string, options: CreateOptions): Promise<void> {
  const { rows = false, overlap, window, maxPairs, minProbability, batch, precision = null } = options;
  if (rows && options.entities) throw new UserError("--rows: rows name their entities, expected no --entities.");
  if (!rows && !options.entities) {
    throw new UserError("Documents need --entities (a file of names, pattern:FILE, column:NAME or model).", {
      hint: "For rows of {sentence, head, tail} give --rows.",
    });
  }
  const sources = (options.entities ?? []).map(parseEntitySource);
  const files: QueueFile[] = [];
  const entities: StoredSource[] = [];
  for (const source of sources) {
    if (!("file" in source)) {
      entities.push(source);
      continue;
    }
    entities.push({ ...source, file: files.length });
    const content = await readFile(source.file).catch((error: Error) => {
      throw new UserError(`--entities ${source.file}: cannot be read (${error.message}).`);
    });
    files.push({ name: basename(source.file), content });
  }
  // Read once here, so that a bad file is told now and not by every worker.
  if (!rows) await openEntities(sources, overlap, warn);
  const types = options.types === undefined ? null : await readTextFile(options.types, "type constraints", 1_000_000);
  const settings = { entities, overlap, window, maxPairs, minProbability, precision, types, batch };
  await withQueues(options.store, async (queues) => {
    await createQueue(queues, { name, kind: rows ? "rows" : "documents", settings }, files);
    say(`queue ${name} in ${queues.store.name}`);
    say(`next: cre queue add ${name} INPUT --store …; cre worker RUN --store … on every machine`);
  });
}

async function added(name: string, inputs: string[], options: AddOptions): Promise<void> {
  const bar = progress("add", null);
  const stop = watchForStop({ onSignal: () => {} });
  const started = performance.now();
  try {
    await withQueues(options.store, async (queues) => {
      const queue = await findQueue(queues, name);
      const additions = queue.kind === "rows" ? rowAdditions(inputs) : documentAdditions(inputs, options, bar.line);
      const counts = await addDocuments(queues, queue, additions, {
        maxWaiting: options.maxWaiting ?? Number.POSITIVE_INFINITY,
        signal: stop.signal,
        onProgress(now, waiting) {
          const seconds = (performance.now() - started) / 1000;
          const detail = waiting ? "waits for the workers" : `${Math.round(now.added / seconds)}/s`;
          bar.update(now.added + now.known + now.bad, detail);
        },
      });
      bar.stop();
      const parts = [`${counts.added} ${queue.kind} added`];
      if (counts.known > 0) parts.push(`${counts.known} were there`);
      if (counts.bad > 0) parts.push(`${counts.bad} cannot be read`);
      if (counts.added + counts.known + counts.bad === 0) throw new UserError("The input has no document with text.");
      say(`${parts.join(", ")}: ${name}`);
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    bar.stop();
    throw new Interrupted("Repeat the same command to add the rest.", stop.by);
  } finally {
    bar.stop();
    stop.close();
  }
}

async function* documentAdditions(
  inputs: readonly string[],
  { format, textField }: AddOptions,
  tell: (line: string) => void,
): AsyncGenerator<Addition> {
  const counts = emptyReadCounts();
  const onNotice = (notice: string) => tell(`note: ${notice}`);
  for await (const item of readDocuments(inputs, { format, textField, counts, onNotice })) {
    if ("bad" in item) {
      tell(`bad document, ${item.bad.id}: ${item.bad.reason}`);
      yield { key: item.bad.id, bad: item.bad.reason };
      continue;
    }
    const payload: DocumentPayload = { text: item.text, fields: item.fields };
    yield { key: item.id, payload: JSON.stringify(payload) };
  }
}

async function* rowAdditions(inputs: readonly string[]): AsyncGenerator<Addition> {
  for (const input of inputs) {
    for await (const { number, text, problem } of readLines(input, { maxLineBytes: MAX_ROW_BYTES })) {
      const key = `${input}#${number}`;
      if (text === null) yield { key, bad: problem as string };
      else if (text.trim() !== "") yield { key, payload: JSON.stringify({ line: number, text } satisfies RowPayload) };
    }
  }
}

async function showStatus(name: string | undefined, options: StoreOptions & { watch?: number; json?: boolean }) {
  const stop = watchForStop({ onSignal: () => {} });
  try {
    await withQueues(options.store, async (queues) => {
      do {
        const chosen: Queue[] = name === undefined ? await findQueues(queues.store) : [await findQueue(queues, name)];
        if (chosen.length === 0) await findQueue(queues, undefined);
        const all: QueueStatus[] = [];
        for (const queue of chosen) all.push(await statusOf(queues.store, queue));
        if (options.json) await print(`${JSON.stringify(all, null, 2)}\n`);
        else await printText(all.map(queueText).join("\n"));
        if (options.watch !== undefined) await pause(1000 * options.watch, stop.signal);
      } while (options.watch !== undefined && !stop.signal.aborted);
    });
  } finally {
    stop.close();
  }
}

async function collected(name: string | undefined, options: CollectOptions): Promise<void> {
  const { output, to = ["jsonl"], partial = false, overwrite = false } = options;
  await withQueues(options.store, async (queues) => {
    const queue = await findQueue(queues, name);
    if (queue.kind === "rows") await checkExtraction("-", output, { replace: overwrite });
    else await checkGraphOutput(output, [], overwrite);
    const bar = progress("collect", null);
    try {
      const onProgress = (documents: number, total: number) => bar.update(documents, `of ${total}`);
      const { status, graph, counts } = await collectQueue(queues, queue, output, { formats: to, partial, onProgress });
      bar.stop();
      const parts = [`${status.done} of ${status.documents} ${queue.kind}`];
      if (status.bad > 0) parts.push(`${status.bad} cannot be read`);
      if (status.failed > 0) parts.push(`${status.failed} failed`);
      if (graph) parts.push(`${graph.triples} triples: ${graph.edges} relations of ${graph.nodes} entities`);
      else parts.push(`${counts.bad ?? 0} bad rows`);
      say(`${parts.join(", ")}: ${output}`);
    } finally {
      bar.stop();
    }
  });
}

async function retried(name: string | undefined, options: StoreOptions): Promise<void> {
  await withQueues(options.store, async (queues) => {
    const queue = await findQueue(queues, name);
    const count = await queues.store.transaction((sql) => queues.jobs.retryFailed(queue.name, sql));
    say(`${count} documents are tried again: ${queue.name}`);
  });
}

async function removed(name: string, options: StoreOptions & { yes?: boolean }): Promise<void> {
  await withQueues(options.store, async (queues) => {
    const queue = await findQueue(queues, name);
    const { documents, done } = await statusOf(queues.store, queue);
    if (!options.yes) {
      throw new UserError(`The queue ${queue.name} has ${documents} documents and ${done} results.`, {
        hint: "Give --yes to remove them.",
      });
    }
    await removeQueue(queues, queue, LEASE_SECONDS);
    say(`removed: ${queue.name}, ${documents} documents, ${done} results`);
  });
}
