import { rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import { writeOutput } from "../base/output.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { labelSetToJson } from "../data/label-set.ts";
import { softLabelsOf } from "../data/soft-labels.ts";
import type { LabelledQuestion } from "./label-questions.ts";
import type { ReviewedRows } from "./review.ts";

export const UNREADABLE_FILE = "unreadable.jsonl";
const CHUNK_ROWS = 1000;
const DIGITS = 4;

/** What became of the rows and of the answers. */
export interface LabelledCounts {
  /** Rows of train.jsonl. */
  rows: number;
  /** By label, in the order of the label set. */
  labels: Record<string, number>;
  /** Rows with soft labels, and rows whose answers all give the same label. */
  soft: number;
  unanimous: number;
  /** Mean share of the answers of a row that give its label. */
  agreement: number;
  /** Answers from which no label could be read, and rows without any that could. */
  unreadableAnswers: number;
  unreadableRows: number;
  /** Rows below the least agreement. */
  below: number;
  /** Rows that a person has labelled. */
  reviewed: number;
}

/** The row of a labelled question as train.jsonl has it; hard labels alone where all answers agree without a doubt, none without an answer. */
export function labelledRow({ question, verdict }: LabelledQuestion, { labels }: LabelSet): Record<string, unknown> {
  const { example, document } = question;
  const own = rowOf(example);
  if (verdict === null) return { ...own, relations: [], document };
  const soft = softLabelsOf(labels, verdict.shares);
  const softLabels = Object.keys(soft).length > 1 ? soft : undefined;
  const agreement = Number(verdict.agreement.toFixed(DIGITS));
  return { ...own, relations: [verdict.label], softLabels, agreement, document };
}

function rowOf({ id, sentence, head, tail, headSpan, tailSpan }: Example): Record<string, unknown> {
  return { id, sentence, head, tail, headSpan, tailSpan };
}

/**
 * Writes labelled rows as a data folder for `cre train`: train.jsonl and labels.json; answers from which no label could be read are listed in
 * unreadable.jsonl. Rows of a person replace those of the model.
 */
export async function writeLabelled(
  directory: string,
  labelled: readonly LabelledQuestion[],
  labels: LabelSet,
  { leastAgreement, reviewed }: { leastAgreement: number; reviewed: ReviewedRows },
): Promise<LabelledCounts> {
  const counts: LabelledCounts = {
    ...{ rows: 0, labels: Object.fromEntries(labels.labels.map((label) => [label, 0])), soft: 0, unanimous: 0 },
    ...{ agreement: 0, unreadableAnswers: 0, unreadableRows: 0, below: 0, reviewed: 0 },
  };
  const add = (relations: readonly string[]) => {
    counts.rows++;
    for (const label of relations) counts.labels[label]++;
  };
  let judged = 0;
  const rows: Record<string, unknown>[] = [];
  const unreadable: Record<string, unknown>[] = [];
  for (const one of labelled) {
    const { question, verdict, answers } = one;
    const bad = answers.filter(({ label }) => label === null);
    counts.unreadableAnswers += bad.length;
    if (bad.length > 0) {
      const listed = bad.map(({ answer, problem, text }) => ({ answer, problem, text }));
      unreadable.push({ ...rowOf(question.example), document: question.document, of: answers.length, answers: listed });
    }
    const own = reviewed.of(question.example);
    if (own) {
      counts.reviewed++;
      add(own);
      rows.push({ ...rowOf(question.example), relations: own, document: question.document });
    } else if (verdict === null) counts.unreadableRows++;
    else {
      judged++;
      counts.agreement += verdict.agreement;
      if (verdict.agreement === 1) counts.unanimous++;
      if (verdict.agreement < leastAgreement) {
        counts.below++;
        continue;
      }
      const row = labelledRow(one, labels);
      if (row.softLabels !== undefined) counts.soft++;
      add([verdict.label]);
      rows.push(row);
    }
  }
  counts.agreement = judged === 0 ? 0 : Number((counts.agreement / judged).toFixed(DIGITS));
  await writeRows(join(directory, "train.jsonl"), rows);
  await writeFileAtomic(join(directory, "labels.json"), `${JSON.stringify(labelSetToJson(labels), null, 2)}\n`);
  await writeList(join(directory, UNREADABLE_FILE), unreadable);
  return counts;
}

/** Writes a list of an earlier call anew; without rows there is no file. */
export async function writeList(file: string, rows: readonly Record<string, unknown>[]): Promise<void> {
  if (rows.length > 0) await writeRows(file, rows);
  else await rm(file, { force: true });
}

async function writeRows(file: string, rows: readonly Record<string, unknown>[]): Promise<void> {
  await writeOutput(file, async (handle) => {
    for (let from = 0; from < rows.length; from += CHUNK_ROWS) {
      const lines = rows.slice(from, from + CHUNK_ROWS).map((row) => `${writeMembers(new Map(), row)}\n`);
      await handle.writeFile(lines.join(""));
    }
  });
}
