import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { UserError } from "../../base/errors.ts";
import { readLines, writeFully } from "../../base/files.ts";
import { holdLock } from "../../base/lock.ts";
import type { Span } from "../../data/example.ts";

/** What a person said of an answer: right, another relation, none, or a pair that was not asked. */
export const VERDICTS = ["confirmed", "corrected", "rejected", "added"] as const;

/** A row of labelled data, as this project reads it, with the answer that it judges. */
export interface ReviewedRow {
  id: string;
  sentence: string;
  head: string;
  tail: string;
  headSpan?: Span;
  tailSpan?: Span;
  relations: string[];
  verdict: (typeof VERDICTS)[number];
  /** The run that answered, and its answer. */
  run: string;
  model: { fingerprint: string; predictions: { relation: string; probability: number }[] } | null;
  /** ISO 8601. */
  at: string;
}

/** The rows that people have judged, in a JSONL file that only grows: a later line with an id replaces an earlier one. */
export interface LabelledSet {
  /** The rows that count, in the order in which they were first added. */
  rows(): readonly ReviewedRow[];
  /** The rows of a run with one of these sentences; of one sentence, in the order in which they were last said. */
  ofSentences(run: string, sentences: readonly string[]): ReviewedRow[];
  /** Adds rows, or replaces those with their ids; resolves when they are on the disk. */
  add(rows: readonly (Omit<ReviewedRow, "id" | "at"> & { id?: string })[]): Promise<ReviewedRow[]>;
  /** Takes a row back; false where there is none. */
  remove(id: string): Promise<boolean>;
  /** Lines of the file that are no rows: half a line of a crash. */
  readonly badLines: number;
  close(): Promise<void>;
}

const MAX_LINE_BYTES = 1_000_000;
const MAX_ROWS = 200_000;

/** Opens the file, which is made when it does not exist, and locks it. Throws a UserError when another process has it. */
export async function openLabelledSet(file: string): Promise<LabelledSet> {
  const release = await holdLock(`${file}.lock`, file);
  const rows = new Map<string, ReviewedRow>();
  const idsOf = new Map<string, Set<string>>();
  const drop = (id: string) => {
    const { sentence } = rows.get(id) ?? {};
    if (sentence === undefined) return;
    const ids = idsOf.get(sentence);
    ids?.delete(id);
    if (ids?.size === 0) idsOf.delete(sentence);
  };
  const keep = (row: ReviewedRow) => {
    drop(row.id);
    rows.set(row.id, row);
    const ids = idsOf.get(row.sentence);
    if (ids) ids.add(row.id);
    else idsOf.set(row.sentence, new Set([row.id]));
  };
  const forget = (id: string) => {
    drop(id);
    rows.delete(id);
  };
  let badLines = 0;
  let handle: FileHandle;
  try {
    if (existsSync(file)) {
      for await (const { text } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
        if (text === "") continue;
        const line = parsed(text);
        if (line === null) badLines++;
        else if ("removed" in line) forget(line.removed);
        else keep(line);
      }
    }
    handle = await open(file, "a+");
  } catch (error) {
    await release();
    throw error;
  }
  let writing: Promise<void> = endLine(handle);
  /** One write after another, each on the disk before it is told. */
  const append = (lines: readonly object[]): Promise<void> => {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const written = writing.then(async () => {
      await writeFully(handle, Buffer.from(text));
      await handle.datasync();
    });
    writing = written.catch(() => endLine(handle));
    return written;
  };
  return {
    rows: () => [...rows.values()],
    badLines,
    ofSentences(run, sentences) {
      const ids = [...new Set(sentences)].flatMap((sentence) => [...(idsOf.get(sentence) ?? [])]);
      return ids.map((id) => rows.get(id) as ReviewedRow).filter((row) => row.run === run);
    },
    async add(given) {
      if (rows.size + given.length > MAX_ROWS) {
        throw new UserError(`The labelled set has ${rows.size} rows, expected at most ${MAX_ROWS}.`);
      }
      const at = new Date().toISOString();
      const added = given.map((row) => ({ ...row, id: row.id ?? randomUUID(), at }));
      await append(added);
      added.forEach(keep);
      return added;
    },
    async remove(id) {
      if (!rows.has(id)) return false;
      await append([{ removed: id, at: new Date().toISOString() }]);
      forget(id);
      return true;
    },
    async close() {
      await writing;
      await handle.close();
      await release();
    },
  };
}

/** Ends a line that a crash cut, so that the next row has a line of its own. */
async function endLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat();
  if (size === 0) return;
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, size - 1);
  if (last[0] !== 10) await writeFully(handle, Buffer.from("\n"));
}

function parsed(text: string | null): ReviewedRow | { removed: string } | null {
  try {
    const line = JSON.parse(text ?? "") as ReviewedRow & { removed?: string };
    if (typeof line.removed === "string") return { removed: line.removed };
    const isRow = [line.id, line.sentence, line.head, line.tail].every((one) => typeof one === "string");
    return isRow && Array.isArray(line.relations) ? line : null;
  } catch {
    return null;
  }
}
