import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { type FileHandle, open, readFile, rename, rm, stat, truncate } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import { syncDirectory, writeFileAtomic } from "../base/files.ts";
import { type JsonlLine, readJsonl } from "../data/jsonl.ts";
import type { Extraction, Extractor } from "./extractor.ts";

/** What happened to the rows of a corpus; the parts add up to `rows`. */
export interface CorpusCounts {
  rows: number;
  extracted: number;
  /** Rows that could not be used; each is in the output as {"line", "error"}. */
  bad: number;
  /** Of the extracted rows: sentences that were shortened, generated answers that could not be read whole. */
  truncated: number;
  unparsed: number;
  unknownLabels: number;
  /** Rows an earlier, interrupted call had done already. */
  resumed: number;
}

export interface CorpusOptions {
  /** Only predictions with at least this probability are written; a row left with none has "predictions": []. */
  minProbability?: number;
  /** Rows held in memory at a time. */
  windowRows?: number;
  onRows?: (counts: Readonly<CorpusCounts>) => void;
  onBadRow?: (line: number, problem: string) => void;
}

export function emptyCounts(): CorpusCounts {
  return { rows: 0, extracted: 0, bad: 0, truncated: 0, unparsed: 0, unknownLabels: 0, resumed: 0 };
}

/**
 * Streams JSONL rows through an extractor: one output line per input row, in order. A row keeps its own fields and gets
 * `"predictions": [{"relation", "probability"}]`; a bad row becomes `{"line", "error"}`. Memory is bounded by the window.
 */
export async function* extractLines(
  extractor: Extractor,
  source: string | NodeJS.ReadableStream,
  counts: CorpusCounts,
  options: CorpusOptions = {},
): AsyncGenerator<string[]> {
  const windowRows = options.windowRows ?? 512;
  let window: JsonlLine[] = [];
  let skip = counts.resumed;
  for await (const row of readJsonl(source)) {
    if (skip > 0) {
      skip--;
      continue;
    }
    window.push(row);
    if (window.length < windowRows) continue;
    yield await extractWindow(extractor, window, counts, options);
    window = [];
  }
  if (skip > 0) throw new UserError(`the input has fewer rows than were done before; it is not the same input.`);
  if (window.length > 0) yield await extractWindow(extractor, window, counts, options);
}

async function extractWindow(
  extractor: Extractor,
  window: readonly JsonlLine[],
  counts: CorpusCounts,
  options: CorpusOptions,
): Promise<string[]> {
  const problems = window.map((row) => (row.problem === null ? extractor.problemOf(row.example) : row.problem));
  const examples = window.flatMap((row, i) => (row.example && problems[i] === null ? [row.example] : []));
  const extractions = await extractor.extract(examples);
  let next = 0;
  const lines = window.map((row, i) => {
    counts.rows++;
    const problem = problems[i];
    if (problem !== null) {
      counts.bad++;
      options.onBadRow?.(row.line, problem);
      return JSON.stringify({ line: row.line, error: problem });
    }
    const extraction = extractions[next++];
    countExtraction(extraction, counts);
    return JSON.stringify({ ...row.object, ...outputFields(extraction, options.minProbability ?? 0) });
  });
  options.onRows?.(counts);
  return lines;
}

function countExtraction(extraction: Extraction, counts: CorpusCounts): void {
  counts.extracted++;
  if (extraction.truncated) counts.truncated++;
  if (extraction.generated && extraction.generated.unparsed !== null) counts.unparsed++;
  counts.unknownLabels += extraction.generated?.unknownLabels.length ?? 0;
}

function outputFields(extraction: Extraction, minProbability: number): Record<string, unknown> {
  const predictions = extraction.predictions
    .filter(({ probability }) => probability >= minProbability)
    .map(({ relation, probability }) => ({ relation, probability: Number(probability.toFixed(6)) }));
  const fields: Record<string, unknown> = { predictions };
  if (extraction.truncated) fields.truncated = true;
  if (extraction.generated) fields.generated = extraction.generated.text;
  return fields;
}

interface Progress {
  /** Identifies run, settings and input: rows of another job are never continued. */
  job: string;
}

/**
 * Extracts a file into a file. Finished rows stand in `OUTPUT.part` from the moment they are reported; when the call is interrupted, the
 * same call goes on after them. The name OUTPUT appears when everything is done.
 */
export async function extractFile(
  extractor: Extractor,
  input: string,
  output: string,
  job: string,
  options: CorpusOptions = {},
): Promise<CorpusCounts> {
  const part = `${output}.part`;
  const progressFile = `${output}.part.json`;
  const identity = createHash("sha256")
    .update(job)
    .update(JSON.stringify(await fileIdentity(input)))
    .digest("hex");
  const counts = emptyCounts();
  if (existsSync(part) && existsSync(progressFile)) {
    const progress = JSON.parse(await readFile(progressFile, "utf8")) as Partial<Progress>;
    if (progress.job !== identity) {
      throw new UserError(`${part}: is the unfinished output of another call (other run, input or options).`, {
        hint: `Delete ${part} to start anew.`,
      });
    }
    await countDone(part, counts);
  } else {
    await rm(part, { force: true });
    await writeFileAtomic(progressFile, JSON.stringify({ job: identity } satisfies Progress));
  }
  const handle = await open(part, "a");
  try {
    const { onRows, ...rest } = options;
    for await (const lines of extractLines(extractor, input, counts, rest)) {
      await appendLines(handle, lines);
      onRows?.(counts);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(part, output);
  await syncDirectory(output.includes("/") ? output.slice(0, output.lastIndexOf("/")) || "/" : ".");
  await rm(progressFile, { force: true });
  return counts;
}

async function appendLines(handle: FileHandle, lines: readonly string[]): Promise<void> {
  await handle.appendFile(lines.map((line) => `${line}\n`).join(""));
}

async function fileIdentity(file: string): Promise<unknown> {
  try {
    const { size, mtimeMs } = await stat(file);
    return { size, mtimeMs };
  } catch {
    throw new UserError(`${file}: does not exist, expected JSONL rows.`);
  }
}

/** Counts the whole lines of an unfinished output and cuts off a line that was written in part. */
async function countDone(part: string, counts: CorpusCounts): Promise<void> {
  let wholeBytes = 0;
  let bytes = 0;
  for await (const chunk of createReadStream(part)) {
    const buffer = chunk as Buffer;
    for (let at = buffer.indexOf(10); at >= 0; at = buffer.indexOf(10, at + 1)) {
      counts.resumed++;
      wholeBytes = bytes + at + 1;
    }
    bytes += buffer.length;
  }
  await truncate(part, wholeBytes);
  counts.rows = counts.resumed;
}
