import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, open, rename, rm, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { fileSizeBytes, readTextFile, syncDirectory, writeFileAtomic } from "../base/files.ts";
import { type JsonlLine, readJsonl } from "../data/jsonl.ts";
import type { Extraction, Extractor } from "./extractor.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "./windows.ts";

/** Counts of the rows of a corpus by outcome; the parts add up to `rows`. */
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
  /** Rows held in memory at a time; part of an extraction's identity when it resumes after an interruption. */
  windowRows?: number;
  onRows?: (counts: Readonly<CorpusCounts>) => void;
  onBadRow?: (line: number, problem: string) => void;
}

const MAX_PROGRESS_BYTES = 10_000;

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
  const windowRows = options.windowRows ?? DEFAULT_WINDOW_ROWS;
  for await (const window of windowsOf(rowsAfter(source, counts.resumed), windowRows)) {
    yield await extractWindow(extractor, window, counts, options);
  }
}

async function* rowsAfter(source: string | NodeJS.ReadableStream, done: number): AsyncGenerator<JsonlLine> {
  let skip = done;
  for await (const row of readJsonl(source)) {
    if (skip > 0) skip--;
    else yield row;
  }
  if (skip > 0) throw new UserError("The input has fewer rows than were done before; it is not the same input.");
}

async function extractWindow(
  extractor: Extractor,
  window: readonly JsonlLine[],
  counts: CorpusCounts,
  options: CorpusOptions,
): Promise<string[]> {
  const results = await extractor.extractEach(window.flatMap(({ example }) => example ?? []));
  let next = 0;
  const lines = window.map((row) => {
    counts.rows++;
    const result = row.problem === null ? results[next++] : { problem: row.problem };
    if ("problem" in result) {
      counts.bad++;
      options.onBadRow?.(row.line, result.problem);
      return JSON.stringify({ line: row.line, error: result.problem });
    }
    countExtraction(result, counts);
    return JSON.stringify({ ...row.object, ...outputFields(result, options.minProbability ?? 0) });
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

/** The file next to an unfinished output. */
interface Progress {
  /** Identifies run, settings and input: rows of another job are never continued. */
  job: string;
}

/**
 * Extracts a file into a file. Finished rows are in `OUTPUT.part` from the moment they are reported. After an interruption the next call
 * resumes after them and ends with an identical output. The name OUTPUT appears when everything is done. Throws a UserError when the
 * input has no rows, or when the unfinished output is of another job.
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
  const windowRows = options.windowRows ?? DEFAULT_WINDOW_ROWS;
  const identity = createHash("sha256")
    .update(JSON.stringify([job, windowRows, await fileIdentity(input)]))
    .digest("hex");
  const counts = emptyCounts();
  await mkdir(dirname(output), { recursive: true });
  if (existsSync(part) && existsSync(progressFile)) {
    if ((await readProgress(progressFile)).job !== identity) {
      throw new UserError(`${part}: is the unfinished output of another call (other run, input or options).`, {
        hint: `Delete ${part} to start anew.`,
      });
    }
    await countDone(part, windowRows, counts);
  } else {
    await rm(part, { force: true });
    await writeFileAtomic(progressFile, JSON.stringify({ job: identity } satisfies Progress));
  }
  const handle = await open(part, "a");
  try {
    const { onRows, ...rest } = options;
    for await (const lines of extractLines(extractor, input, counts, { ...rest, windowRows })) {
      await handle.appendFile(lines.map((line) => `${line}\n`).join(""));
      onRows?.(counts);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (counts.rows === 0) {
    await rm(part);
    await rm(progressFile);
    throw noRows(input);
  }
  await rename(part, output);
  await syncDirectory(dirname(output));
  await rm(progressFile, { force: true });
  return counts;
}

export function noRows(name: string): UserError {
  return new UserError(`${name}: is empty, expected JSONL rows.`);
}

async function fileIdentity(file: string): Promise<unknown> {
  const sizeBytes = await fileSizeBytes(file, "JSONL rows");
  return { sizeBytes, mtimeMs: (await stat(file)).mtimeMs };
}

async function readProgress(file: string): Promise<Partial<Progress>> {
  try {
    return (JSON.parse(await readTextFile(file, "the state of an extraction", MAX_PROGRESS_BYTES)) ?? {}) as Progress;
  } catch (error) {
    throw new UserError(`${file}: is not the state of an extraction (${messageOf(error)}).`, {
      hint: `Delete ${file} to start anew.`,
    });
  }
}

/**
 * Counts the rows that are done in an unfinished output and cuts off the rest: a line that was written in part, what follows a NUL byte
 * (which a power loss leaves in the place of lines), and the lines of an incomplete window, since rows of one window are computed together and other windows might change their last digit.
 */
async function countDone(part: string, windowRows: number, counts: CorpusCounts): Promise<void> {
  let doneBytes = 0;
  let bytes = 0;
  let lines = 0;
  for await (const chunk of createReadStream(part)) {
    const whole = chunk as Buffer;
    const nul = whole.indexOf(0);
    const buffer = nul < 0 ? whole : whole.subarray(0, nul);
    for (let at = buffer.indexOf(10); at >= 0; at = buffer.indexOf(10, at + 1)) {
      if (++lines % windowRows === 0) doneBytes = bytes + at + 1;
    }
    bytes += buffer.length;
    if (nul >= 0) break;
  }
  await truncate(part, doneBytes);
  counts.resumed = lines - (lines % windowRows);
  counts.rows = counts.resumed;
}
