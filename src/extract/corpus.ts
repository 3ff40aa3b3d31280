import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { printable, UserError } from "../base/errors.ts";
import { fileSizeBytes, writeFully } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import { expectUnlocked } from "../base/lock.ts";
import {
  checkOutputFile,
  expectNotRead,
  namingFile,
  type OutputHandle,
  type OutputTarget,
  openSpecial,
} from "../base/output.ts";
import { type JsonlLine, readJsonl } from "../data/jsonl.ts";
import { unlessAborted } from "./abort.ts";
import type { Extraction, Extractor } from "./extractor.ts";
import { headOfFile, noRows, noUsableRows } from "./no-rows.ts";
import {
  arithmeticNotice,
  lockOf,
  openUnfinished,
  otherCall,
  type UnfinishedOutput,
  type WindowCounts,
} from "./unfinished.ts";
import { DEFAULT_WINDOW_ROWS, windowsOf } from "./windows.ts";

/** Counts of the rows of a corpus by outcome: rows = extracted + bad + resumed. */
export interface CorpusCounts {
  rows: number;
  /** Rows that this call extracted. */
  extracted: number;
  /** Rows that could not be used; each is in the output as {"line", "error"}. */
  bad: number;
  /** Of all extracted rows: sentences that were shortened, generated answers that could not be read whole. */
  truncated: number;
  unparsed: number;
  unknownLabels: number;
  /** Rows that an earlier, interrupted call extracted. */
  resumed: number;
}

export interface CorpusOptions {
  /** Only predictions with at least this probability are written; a row left with none has "predictions": []. */
  minProbability?: number;
  /** Rows held in memory at a time; part of an extraction's identity when it resumes after an interruption. */
  windowRows?: number;
  onRows?: (counts: Readonly<CorpusCounts>) => void;
  onBadRow?: (line: number, problem: string) => void;
  /** Hears, when an extraction resumes, that its finished rows were computed with another instruction set. */
  onNotice?: (text: string) => void;
  /** Ends the extraction at once when it aborts: the call throws the signal's reason. Finished windows are kept. */
  signal?: AbortSignal;
  /** Whether extractFile may replace an output that exists; default true. */
  replace?: boolean;
}

const MAX_KEPT_PROBLEMS = 3;

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
  const rows = readJsonl(source, { normalize: extractor.normalize });
  for await (const window of windowsOf(rows, options.windowRows ?? DEFAULT_WINDOW_ROWS)) {
    const lines = await extractWindow(extractor, window, counts, options);
    options.onRows?.(counts);
    yield lines;
  }
}

async function extractWindow(
  extractor: Extractor,
  window: readonly JsonlLine[],
  counts: CorpusCounts,
  options: CorpusOptions,
): Promise<string[]> {
  const extracting = extractor.extractEach(window.flatMap(({ example }) => example ?? []));
  const results = await unlessAborted(extracting, options.signal);
  let next = 0;
  const lines = window.map((row) => {
    counts.rows++;
    const result = row.problem === null ? results[next++] : { problem: row.problem };
    if ("problem" in result) {
      counts.bad++;
      options.onBadRow?.(row.line, result.problem);
      return JSON.stringify({ line: row.line, error: printable(result.problem) });
    }
    countExtraction(result, counts);
    const members = row.problem === null ? row.members : new Map<string, string>();
    return writeMembers(members, outputFields(result, options.minProbability ?? 0));
  });
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
    .filter(({ probability }) => !(probability < minProbability))
    .map(({ relation, probability }) =>
      // The text of a server without probabilities.
      Number.isNaN(probability) ? { relation } : { relation, probability: Number(probability.toFixed(6)) },
    );
  const fields: Record<string, unknown> = { predictions };
  if (extraction.truncated) fields.truncated = true;
  if (extraction.generated) fields.generated = extraction.generated.text;
  return fields;
}

/**
 * Extracts a file into a file. Finished rows are in `OUTPUT.part` from the moment they are reported. After an interruption the next call
 * resumes after them and ends with an identical output. The name OUTPUT appears when everything is done. A device or a FIFO gets the rows as
 * they are finished. Throws a UserError when no row of the input can be used, when another process writes the output, or when the unfinished
 * output is of another job or another input.
 */
export async function extractFile(
  extractor: Extractor,
  input: string,
  output: string,
  job: string,
  options: CorpusOptions = {},
): Promise<CorpusCounts> {
  const windowRows = options.windowRows ?? DEFAULT_WINDOW_ROWS;
  const identity = createHash("sha256")
    .update(JSON.stringify([job, windowRows, await fileIdentity(input)]))
    .digest("hex");
  const target = await checkExtraction(input, output, options);
  const counts = emptyCounts();
  if (target.kind === "special") {
    const { handle, close } = await namingFile(output, () => openSpecial(output));
    try {
      await extractInto(extractor, input, counts, options, specialOutput(output, handle));
    } finally {
      await close();
    }
    return counts;
  }
  const unfinished = await openUnfinished(target.path, output, identity, windowRows);
  try {
    // Another process may have finished it a moment ago.
    if (options.replace === false && existsSync(target.path)) throw existsAlready(output);
    await extractInto(extractor, input, counts, options, { ...unfinished, part: `${output}.part` });
    await unfinished.finish();
  } finally {
    await unfinished.close();
  }
  return counts;
}

/**
 * Checks before a model is loaded that rows can be extracted into an output: it is writable, not the input, not in use, and does not exist
 * unless it may be replaced. Throws a UserError.
 */
export async function checkExtraction(
  input: string,
  output: string,
  { replace = true }: Pick<CorpusOptions, "replace">,
): Promise<OutputTarget> {
  const target = await checkOutputFile(output);
  await expectNotRead(output, [input]);
  if (target.kind === "special") return target;
  if (!replace && target.mode !== null) throw existsAlready(output);
  await expectUnlocked(lockOf(target.path), output);
  return target;
}

function existsAlready(output: string): UserError {
  return new UserError(`${output}: exists already.`, { hint: "Give --overwrite to replace it." });
}

type RowsOutput = Pick<UnfinishedOutput, "done" | "add" | "discard"> & { part: string };

function specialOutput(file: string, handle: OutputHandle): RowsOutput {
  const add = (text: string) => namingFile(file, () => writeFully(handle, Buffer.from(text)));
  return { done: [], add, discard: async () => {}, part: file };
}

async function extractInto(
  extractor: Extractor,
  input: string,
  counts: CorpusCounts,
  options: CorpusOptions,
  output: RowsOutput,
): Promise<void> {
  const { onRows, onBadRow, windowRows = DEFAULT_WINDOW_ROWS, ...rest } = options;
  const problems: { line: number; problem: string }[] = [];
  const hearing: CorpusOptions = {
    ...rest,
    onBadRow(line, problem) {
      if (problems.length < MAX_KEPT_PROBLEMS) problems.push({ line, problem });
      onBadRow?.(line, problem);
    },
  };
  const notice = arithmeticNotice(output.done, output.part, extractor.arithmetic);
  if (notice !== null) options.onNotice?.(notice);
  let windows = 0;
  for await (const window of windowsOf(readJsonl(input, { normalize: extractor.normalize }), windowRows)) {
    const checksum = checksumOf(window);
    const done = output.done[windows++];
    if (done) {
      if (done.input !== checksum) throw otherCall(output.part);
      addDone(counts, done);
      continue;
    }
    const before = { ...counts };
    const lines = await extractWindow(extractor, window, counts, hearing);
    const { arithmetic } = extractor;
    const added = { rows: window.length, input: checksum, arithmetic, counts: difference(counts, before) };
    await output.add(lines.map((line) => `${line}\n`).join(""), added);
    onRows?.(counts);
  }
  if (windows < output.done.length) throw otherCall(output.part);
  if (counts.bad < counts.rows) return;
  await output.discard();
  if (counts.rows === 0) throw noRows(input);
  throw noUsableRows(input, counts.rows, problems, await headOfFile(input));
}

/** A checksum of all that the output of a window can depend on. */
function checksumOf(window: readonly JsonlLine[]): string {
  const hash = createHash("sha256");
  for (const row of window) {
    // Numbers as they were written: a double would take two long ids for one.
    const fields = row.problem === null ? [...row.members] : row.object;
    hash.update(`${JSON.stringify([row.line, fields, row.problem])}\n`);
  }
  return hash.digest("hex");
}

const OUTCOMES = ["bad", "truncated", "unparsed", "unknownLabels"] as const;

function addDone(counts: CorpusCounts, done: { rows: number; counts: WindowCounts }): void {
  counts.rows += done.rows;
  counts.resumed += done.counts.extracted;
  for (const name of OUTCOMES) counts[name] += done.counts[name];
}

function difference(after: CorpusCounts, before: CorpusCounts): WindowCounts {
  const { bad, truncated, unparsed, unknownLabels, extracted } = after;
  return {
    extracted: extracted - before.extracted,
    bad: bad - before.bad,
    truncated: truncated - before.truncated,
    unparsed: unparsed - before.unparsed,
    unknownLabels: unknownLabels - before.unknownLabels,
  };
}

async function fileIdentity(file: string): Promise<unknown> {
  const sizeBytes = await fileSizeBytes(file, "JSONL rows");
  return { sizeBytes, mtimeMs: (await stat(file)).mtimeMs };
}
