import { existsSync } from "node:fs";
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { readLines } from "../base/files.ts";
import { namingFile } from "../base/output.ts";
import type { Example } from "../data/example.ts";
import type { RunFolder } from "./run-folder.ts";
import { rowsDigest } from "./saved-predictions.ts";

const MAX_LINE_BYTES = 1_000_000;

/** One evaluation of a run on the test split of a data folder. */
export interface TestLook {
  /** ISO 8601, UTC. */
  date: string;
  /** Name of the data folder. */
  data: string;
  rows: number;
  /** Digest of the rows. */
  digest: string;
}

/** The file that keeps the looks of a run at test rows, one JSON line each. */
export const looksFile = (folder: RunFolder): string => join(folder.directory, "test-looks.jsonl");

/** Records a look of a run at test rows and returns all looks at the same rows or the same data folder's name, this one last. */
export async function recordTestLook(
  folder: RunFolder,
  data: string,
  examples: readonly Example[],
  date = new Date(),
): Promise<TestLook[]> {
  const look = { date: date.toISOString(), data, rows: examples.length, digest: rowsDigest(examples) };
  const earlier = await readTestLooks(folder);
  const file = looksFile(folder);
  await namingFile(file, async () => {
    // A line that a crash cut must not swallow this one.
    const isCut = existsSync(file) && !(await readFile(file, "utf8")).endsWith("\n");
    await appendFile(file, `${isCut ? "\n" : ""}${JSON.stringify(look)}\n`);
  });
  return [...earlier.filter((one) => one.digest === look.digest || one.data === data), look];
}

/** All looks of a run at test rows; a line that a crash cut is left out. */
export async function readTestLooks(folder: RunFolder): Promise<TestLook[]> {
  const file = looksFile(folder);
  if (!existsSync(file)) return [];
  const looks: TestLook[] = [];
  for await (const { text } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    const look = parsedLook(text ?? "");
    if (look !== null) looks.push(look);
  }
  return looks;
}

function parsedLook(text: string): TestLook | null {
  try {
    const { date, data, rows, digest } = JSON.parse(text) as Partial<TestLook>;
    const isLook =
      typeof date === "string" && typeof data === "string" && typeof rows === "number" && typeof digest === "string";
    return isLook ? { date, data, rows, digest } : null;
  } catch {
    return null;
  }
}

/** What a second look and every later one is told; null for the first. */
export function lookNotice(looks: readonly TestLook[]): string | null {
  if (looks.length < 2) return null;
  const dates = [...new Set(looks.slice(0, -1).map(({ date }) => date.slice(0, 10)))];
  const before = dates.length > 3 ? `${dates[0]}, …, ${dates[dates.length - 1]}` : dates.join(", ");
  const { data } = looks[looks.length - 1];
  return `look ${looks.length} of this run at the test rows of ${data} (before: ${before}). A setting that is chosen after a look at test rows scores too well on them: choose with --split valid or cre tune.`;
}
