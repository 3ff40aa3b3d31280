import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readLines } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import { writeOutput } from "../base/output.ts";
import type { Example } from "../data/example.ts";
import { meanDistribution, placesOf } from "../extract/ensemble.ts";
import { openUnfinished } from "../extract/unfinished.ts";
import { windowsOf } from "../extract/windows.ts";
import { openRun } from "../runs/run.ts";
import type { RunFolder } from "../runs/run-folder.ts";
import { distributionLine, readDistribution, rounded } from "../runs/saved-distributions.ts";
import { teacherFiles } from "../runs/teacher.ts";

/** What happens while teachers answer; `teacher` counts from 1. */
export type TeacherEvent =
  | { kind: "teacher"; run: string; teacher: number; teachers: number; done: number; total: number }
  | { kind: "notice"; text: string };

/** How a teacher answers: as it decodes, with the likelihood of the labels. */
export const TEACHER_DECODE = { method: "labels" } as const;

const DEFAULT_WINDOW_ROWS = 256;
const MAX_LINE_BYTES = 10_000_000;
/** Rows that are written at a time. */
const CHUNK_ROWS = 1000;

/** A run that is asked some of the rows. */
export interface AskedTeacher {
  run: string;
  /** Places of the rows that it is asked; null for all. */
  rows: readonly number[] | null;
}

export interface TeacherWork {
  teachers: readonly AskedTeacher[];
  /** Digest of all that decides their answers. */
  identity: string;
  labels: readonly string[];
  examples: readonly Example[];
  /** Rows that are answered together, and kept together; default 256. */
  windowRows?: number;
}

/**
 * Asks the teachers one after another for the label distribution of every row and writes their mean as `teacher.jsonl` of a run. What was
 * answered is kept window by window, so that a killed process loses one at most and the file has the same bytes in the end. Returns false when
 * the signal stopped it.
 */
export async function askTeachers(
  folder: RunFolder,
  work: TeacherWork,
  { signal, onEvent }: { signal: AbortSignal; onEvent: (event: TeacherEvent) => void },
): Promise<boolean> {
  const files = teacherFiles(folder);
  const parts = work.teachers.map((_, i) => join(files.parts, `${i + 1}.jsonl`));
  for (const [i, part] of parts.entries()) {
    if (existsSync(part)) continue;
    if (!(await askTeacher(part, i, work, signal, onEvent))) return false;
  }
  await writeMean(files.rows, parts, work);
  await rm(files.parts, { recursive: true, force: true });
  return true;
}

/** Writes what one teacher answers: a line for each row, null for a row that it cannot read. */
async function askTeacher(
  part: string,
  index: number,
  { teachers, identity, labels, examples, windowRows = DEFAULT_WINDOW_ROWS }: TeacherWork,
  signal: AbortSignal,
  onEvent: (event: TeacherEvent) => void,
): Promise<boolean> {
  const { run: directory, rows: places } = teachers[index];
  const asked = places === null ? examples : places.map((place) => examples[place]);
  const tell = (done: number) =>
    onEvent({
      kind: "teacher",
      run: directory,
      teacher: index + 1,
      teachers: teachers.length,
      done,
      total: asked.length,
    });
  const onNotice = (text: string) => onEvent({ kind: "notice", text: `${directory}: ${text}` });
  const job = createHash("sha256")
    .update(JSON.stringify([identity, index]))
    .digest("hex");
  const output = await openUnfinished(part, part, job, windowRows);
  const run = await openRun(directory, { decode: TEACHER_DECODE, onNotice }).catch(async (error: unknown) => {
    await output.close();
    throw error;
  });
  try {
    const order = placesOf(labels, run.labels.labels);
    let window = 0;
    let done = 0;
    tell(0);
    for await (const rows of windowsOf(asked, windowRows)) {
      if (window++ >= output.done.length) {
        if (signal.aborted) return false;
        const answers = await run.extractor.extractEach(rows);
        const lines = answers.map((answer) =>
          "problem" in answer ? "null\n" : distributionLine(order.map((place) => answer.probabilities[place])),
        );
        const bad = answers.filter((answer) => "problem" in answer).length;
        const counts = { extracted: rows.length - bad, bad, truncated: 0, unparsed: 0, unknownLabels: 0 };
        const { arithmetic } = run.extractor;
        await output.add(lines.join(""), { rows: rows.length, input: String(window), arithmetic, counts });
      }
      done += rows.length;
      tell(done);
    }
    await output.finish();
    return true;
  } finally {
    await run.close();
    await output.close();
  }
}

async function writeMean(
  file: string,
  parts: readonly string[],
  { labels, examples, teachers }: TeacherWork,
): Promise<void> {
  const sums: (Float64Array | null)[] = examples.map(() => new Float64Array(labels.length));
  for (const [i, part] of parts.entries()) {
    const { rows } = teachers[i];
    const count = rows?.length ?? examples.length;
    let row = 0;
    for await (const { text } of readLines(part, { maxLineBytes: MAX_LINE_BYTES })) {
      const probabilities = text === "null" ? null : readDistribution(text ?? "", labels.length);
      if ((probabilities === null && text !== "null") || row >= count) throw damaged(part);
      const place = rows ? rows[row] : row;
      const sum = sums[place];
      if (sum && probabilities) for (const label of sum.keys()) sum[label] += probabilities[label];
      else sums[place] = null;
      row++;
    }
    if (row !== count) throw damaged(part);
  }
  await writeOutput(file, async (handle) => {
    for (let from = 0; from < examples.length; from += CHUNK_ROWS) {
      const lines = examples.slice(from, from + CHUNK_ROWS).map((example, i) => {
        const sum = sums[from + i];
        const { sentence, head, tail, headSpan, tailSpan, relations } = example;
        const probabilities = sum && Array.from(meanDistribution([sum]), rounded);
        const members = { sentence, head, tail, headSpan, tailSpan, relations, probabilities };
        return `${writeMembers(new Map(), members)}\n`;
      });
      await handle.writeFile(lines.join(""));
    }
  });
}

function damaged(part: string): UserError {
  return new UserError(`${part}: is not what a teacher answered, expected a distribution for each row.`, {
    hint: "Delete the file: the teacher answers again when the distillation is resumed.",
  });
}
