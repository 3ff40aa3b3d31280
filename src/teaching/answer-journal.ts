import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readLines, writeFully } from "../base/files.ts";

/** An answer as it was paid for. */
export interface KeptAnswer {
  /** What the model wrote. */
  text: string;
  /** The longest length of an answer, where it was cut off there. */
  cutAt?: number;
  /** By label the probability at the places where the answer chose, where the server tells it. */
  probabilities?: Readonly<Record<string, number>>;
  promptTokens: number;
  answerTokens: number;
}

/** What was asked and answered, in a JSONL file that only grows: nothing that was paid for is lost when the process is killed. */
export interface AnswerJournal {
  answer(key: string): KeptAnswer | undefined;
  /** Tokens that are spent: of the answers, and of requests whose answers were lost the tokens that were reserved for them. */
  readonly spent: number;
  /** Requests that a process began that was killed before the answer came, and that no earlier call has booked. */
  readonly lost: number;
  /** Notes a request before it is made. */
  begin(key: string, reserved: number): Promise<void>;
  /** Notes its answer; `spent` are the tokens that it cost this time. */
  end(key: string, answer: KeptAnswer, spent: number): Promise<void>;
  /** Notes that a request had no answer; `spent` is what it may have cost. */
  fail(key: string, spent: number): Promise<void>;
  close(): Promise<void>;
}

export const JOURNAL_FILE = "answers.jsonl";
const VERSION = 1;
const MAX_LINE_BYTES = 10_000_000;

type Line =
  | { begin: string; tokens: number }
  | ({ key: string; spent: number } & KeptAnswer)
  | { failed: string; spent: number };

/** The name of a request in the journal. */
export function requestKey(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** Opens the journal of a folder, or begins it. A last line that a crash cut is left out. Throws a UserError for a file that is no journal. */
export async function openAnswerJournal(directory: string): Promise<AnswerJournal> {
  const file = join(directory, JOURNAL_FILE);
  const kept = new Map<string, KeptAnswer>();
  const begun = new Map<string, number>();
  let spent = 0;
  const apply = (line: Line) => {
    if ("begin" in line) begun.set(line.begin, (begun.get(line.begin) ?? 0) + line.tokens);
    else {
      const key = "key" in line ? line.key : line.failed;
      begun.delete(key);
      spent += line.spent;
      if (!("key" in line)) return;
      const { key: _, spent: __, ...answer } = line;
      kept.set(key, answer);
    }
  };
  const isNew = !existsSync(file);
  if (!isNew) await readJournal(file, apply);
  const unanswered = [...begun];
  const handle = await open(file, "a+");
  if (isNew) await writeFully(handle, Buffer.from(`${JSON.stringify({ journal: VERSION })}\n`));
  else await endLine(handle);
  let writing: Promise<void> = Promise.resolve();
  /** One line after another: two that are written at a time could mix. */
  const append = (line: Line): Promise<void> => {
    writing = writing.then(() => writeFully(handle, Buffer.from(`${JSON.stringify(line)}\n`)));
    return writing;
  };
  // Written, or the next answer to the same request would take their place.
  for (const [failed, tokens] of unanswered) {
    await append({ failed, spent: tokens });
    spent += tokens;
  }
  return {
    answer: (key) => kept.get(key),
    get spent() {
      return spent;
    },
    lost: unanswered.length,
    begin: (key, reserved) => append({ begin: key, tokens: reserved }),
    async end(key, answer, cost) {
      await append({ key, spent: cost, ...answer });
      spent += cost;
      kept.set(key, answer);
    },
    async fail(key, cost) {
      await append({ failed: key, spent: cost });
      spent += cost;
    },
    async close() {
      await writing.catch(() => {});
      await handle.sync();
      await handle.close();
    },
  };
}

async function readJournal(file: string, apply: (line: Line) => void): Promise<void> {
  let isFirst = true;
  for await (const { number, text } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    const line = lineOf(text);
    if (isFirst && (line === null || (line as { journal?: unknown }).journal !== VERSION)) {
      throw new UserError(
        `${file}, line ${number}: is not the journal of cre label, expected {"journal":${VERSION}}.`,
        {
          hint: "Give another folder with --output.",
        },
      );
    }
    if (!isFirst && line !== null) apply(line as Line);
    isFirst = false;
  }
}

/** A line; null for one that a crash cut. */
function lineOf(text: string | null): object | null {
  try {
    const line: unknown = JSON.parse(text ?? "");
    return typeof line === "object" && line !== null ? line : null;
  } catch {
    return null;
  }
}

/** Ends a line that a crash cut, so that the next one has a line of its own. */
async function endLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat();
  if (size === 0) return;
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, size - 1);
  if (last[0] !== 10) await writeFully(handle, Buffer.from("\n"));
}
