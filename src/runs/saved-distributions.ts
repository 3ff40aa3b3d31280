import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import type { Example } from "../data/example.ts";
import type { SplitName } from "../data/split.ts";
import { type AnsweringRun, answerFiles, answersDigest, rowsDigest } from "./saved-predictions.ts";

// Label distributions of an evaluation, next to its answers in predictions/: a JSON line that identifies them, then one list a row.

/** Digits of a kept probability. */
const DIGITS = 6;
/** A file with more bytes is not one of ours: 100 bytes a label and row are plenty. */
const MAX_BYTES_OF_PROBABILITY = 100;
const MOST_HEADER_BYTES = 1000;

/** A probability as it is kept. */
export const rounded = (probability: number): number => Number(probability.toPrecision(DIGITS));

/** A list of probabilities as a line of JSON, and back; null for a line that is not one of `count` labels. */
export const distributionLine = (probabilities: ArrayLike<number>): string =>
  `${JSON.stringify(Array.from(probabilities, rounded))}\n`;

export function readDistribution(line: string, count: number): Float64Array | null {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return null;
  }
  if (!Array.isArray(row) || row.length !== count) return null;
  if (!row.every((value) => typeof value === "number" && value >= 0 && value <= 1.001)) return null;
  const sum = row.reduce((total, value) => total + value, 0);
  return Math.abs(sum - 1) < 1e-2 ? Float64Array.from(row as number[]) : null;
}

function fileOf(run: AnsweringRun, split: SplitName | null, digest: string): string {
  return answerFiles(run.folder, split, digest).rows.replace(/\.jsonl$/, ".probabilities.jsonl");
}

/** Keeps the label distributions of a run's answers to rows, in the order of its labels. */
export async function saveDistributions(
  run: AnsweringRun,
  examples: readonly Example[],
  split: SplitName | null,
  distributions: readonly ArrayLike<number>[],
): Promise<void> {
  const digest = await answersDigest(run, rowsDigest(examples));
  const rows = distributions.map(distributionLine).join("");
  const header = { answers: digest, rows: examples.length, content: sumOf(rows) };
  await writeFileAtomic(fileOf(run, split, digest), `${JSON.stringify(header)}\n${rows}`);
}

/** The distributions that were kept for these rows, weights and decoding; null when there are none, or when the file is damaged. */
export async function findDistributions(
  run: AnsweringRun,
  examples: readonly Example[],
  split: SplitName | null,
  labelCount: number,
): Promise<Float64Array[] | null> {
  const digest = await answersDigest(run, rowsDigest(examples));
  const file = fileOf(run, split, digest);
  if (!existsSync(file)) return null;
  try {
    const bytes = await readFile(file);
    if (bytes.length > MOST_HEADER_BYTES + examples.length * (labelCount * MAX_BYTES_OF_PROBABILITY + 3)) return null;
    const text = bytes.toString("utf8");
    const end = text.indexOf("\n") + 1;
    const header = JSON.parse(text.slice(0, end)) as { answers?: unknown; content?: unknown };
    const rows = text.slice(end);
    if (header.answers !== digest || header.content !== sumOf(rows)) return null;
    const found = rows.split("\n").slice(0, -1);
    const read = found.map((line) => readDistribution(line, labelCount));
    const whole = read.filter((row) => row !== null);
    return whole.length === examples.length && read.length === examples.length ? whole : null;
  } catch (error) {
    if (error instanceof UserError || error instanceof SyntaxError) return null;
    throw error;
  }
}

const sumOf = (content: string) => createHash("sha256").update(content).digest("hex");
