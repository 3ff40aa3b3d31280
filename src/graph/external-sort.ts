import { createReadStream } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { readLines, writeFully } from "../base/files.ts";
import { namingFile } from "../base/output.ts";

export interface Sorter<T> {
  add(key: string, value: T): Promise<void>;
  /** The values in the order of their keys (by UTF-16 units), those of equal keys in the order of their addition. Once only. */
  sorted(): AsyncGenerator<{ key: string; value: T }, void, void>;
  /** Removes the spill files. */
  close(): Promise<void>;
}

/** UTF-16 units of records that are sorted in memory; twice that in bytes. */
const MEMORY_UNITS = 4e6;
const WRITE_UNITS = 1 << 18;
/** Of each spill file: many are read at once. */
const READ_BYTES = 1 << 15;

/**
 * Sorts any number of JSON values by a key with bounded memory: what is more than `memoryUnits` is sorted in parts, each in a spill file in
 * `folder`, and merged. All spill files are read at once, so their number is limited by the open files of the process: with 4 million units
 * a file and 1,000 files, some 8 GB.
 */
export function externalSorter<T>(folder: string, name: string, memoryUnits = MEMORY_UNITS): Sorter<T> {
  const files: string[] = [];
  let records: string[] = [];
  let units = 0;
  let count = 0;

  const spill = async () => {
    records.sort(byUnits);
    const file = join(folder, `${name}.${files.length}.jsonl`);
    await mkdir(folder, { recursive: true });
    files.push(file);
    await namingFile(file, async () => {
      const handle = await open(file, "w");
      try {
        await writeLines(handle, records);
      } finally {
        await handle.close();
      }
    });
    records = [];
    units = 0;
  };
  return {
    async add(key, value) {
      // JSON text has no control characters, so a TAB ends the key; the number keeps the order of equal keys.
      const record = `${JSON.stringify(key)}\t${String(count++).padStart(15, "0")}\t${JSON.stringify(value)}`;
      records.push(record);
      units += record.length;
      if (units >= memoryUnits) await spill();
    },
    async *sorted() {
      records.sort(byUnits);
      const sources = [records[Symbol.iterator](), ...files.map((file) => linesOf(file))];
      for await (const record of merged(sources)) {
        const [key, , value] = record.split("\t", 3);
        yield { key: JSON.parse(key) as string, value: JSON.parse(value) as T };
      }
    },
    async close() {
      records = [];
      for (const file of files) await rm(file, { force: true });
    },
  };
}

const byUnits = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

async function writeLines(handle: Parameters<typeof writeFully>[0], lines: readonly string[]): Promise<void> {
  let text = "";
  for (const line of lines) {
    text += `${line}\n`;
    if (text.length < WRITE_UNITS) continue;
    await writeFully(handle, Buffer.from(text));
    text = "";
  }
  await writeFully(handle, Buffer.from(text));
}

/** Not readline's lines: those end at U+2028 too, which JSON text may hold. */
async function* linesOf(file: string): AsyncGenerator<string, void, void> {
  const stream = createReadStream(file, { highWaterMark: READ_BYTES });
  for await (const { text } of readLines(stream, { maxLineBytes: Number.POSITIVE_INFINITY })) yield text as string;
}

/** Merges sorted sources; with a heap of their next records, the smallest first. */
async function* merged(sources: readonly (Iterator<string> | AsyncIterator<string>)[]): AsyncGenerator<string> {
  const heap: { record: string; source: number }[] = [];
  const push = async (source: number) => {
    const next = await sources[source].next();
    if (next.done) return;
    let at = heap.push({ record: next.value, source }) - 1;
    while (at > 0 && heap[at].record < heap[(at - 1) >> 1].record) {
      const parent = (at - 1) >> 1;
      [heap[at], heap[parent]] = [heap[parent], heap[at]];
      at = parent;
    }
  };
  for (const source of sources.keys()) await push(source);
  while (heap.length > 0) {
    const { record, source } = heap[0];
    yield record;
    const last = heap.pop() as (typeof heap)[number];
    if (heap.length > 0) {
      heap[0] = last;
      sink(heap);
    }
    await push(source);
  }
}

function sink(heap: { record: string }[]): void {
  for (let at = 0; ; ) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) {
      if (child < heap.length && heap[child].record < heap[least].record) least = child;
    }
    if (least === at) return;
    [heap[at], heap[least]] = [heap[least], heap[at]];
    at = least;
  }
}
