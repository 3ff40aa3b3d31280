import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { readLines, writeFileAtomic } from "../base/files.ts";
import { writeMembers } from "../base/json-text.ts";
import type { Example } from "../data/example.ts";
import { inputKey, type SplitName } from "../data/split.ts";
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { ScoredRow } from "../evaluate/rows.ts";
import type { Extractor } from "../extract/extractor.ts";
import { SUMS_FILE } from "../formats/folder-sums.ts";
import { readJsonObject } from "../formats/json-file.ts";
import type { Recipe } from "../recipe/schema.ts";
import type { RunFolder } from "./run-folder.ts";

const MAX_LINE_BYTES = 10_000_000;

/** An evaluation whose rows are kept; a part of `RunEvaluation`. */
export type KeptEvaluation = Pick<Evaluation, "rows" | "extractions"> & {
  examples: readonly Example[];
  source: { data: string; split: SplitName } | null;
};

/** A run as far as it decides its answers. */
export interface AnsweringRun {
  folder: RunFolder;
  recipe: Recipe;
  /** How relations are chosen, where that is not as the recipe says. */
  extractor?: Pick<Extractor, "settings">;
}

/** A digest of rows: texts, spans and gold labels, in their order. */
export function rowsDigest(examples: readonly Example[]): string {
  const hash = createHash("sha256");
  for (const example of examples) hash.update(`${inputKey(example)} ${JSON.stringify(example.relations ?? [])}\n`);
  return hash.digest("hex");
}

/** All that decides the answers to rows: the rows, the trained weights, how they are stored and how relations are chosen. */
export async function answersDigest({ folder, recipe, extractor }: AnsweringRun, rows: string): Promise<string> {
  const { maxBatchTokens: _, precision: wanted, ...decode } = recipe.decode;
  const settings: Record<string, unknown> = { ...extractor?.settings };
  const precision = settings.precision ?? wanted;
  // A fitted weight is one of the files below.
  if (settings.isFitted === true) settings.noRelationWeight = "auto";
  const chosen = Object.fromEntries(Object.entries(decode).map(([key, value]) => [key, settings[key] ?? value]));
  const trained: string[] = [];
  for (const file of [join(folder.directory, SUMS_FILE), join(folder.model, SUMS_FILE)]) {
    if (existsSync(file))
      trained.push(
        createHash("sha256")
          .update(await readFile(file))
          .digest("hex"),
      );
  }
  // Without the key where it changes nothing: answers that earlier versions kept are found again.
  const int8 = precision === "int8" ? [precision] : [];
  const parts = [rows, trained, chosen, recipe.model.storage, recipe.prompt, ...int8];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** The files of one evaluation in `predictions/`: rows with answers as `cre extract` writes them, and what they are. */
export function answerFiles(
  folder: RunFolder,
  split: SplitName | null,
  digest: string,
): { rows: string; about: string } {
  const name = join(folder.directory, "predictions", `${split ?? "rows"}-${digest.slice(0, 8)}`);
  return { rows: `${name}.jsonl`, about: `${name}.json` };
}

/** Keeps the answers of an evaluation in the run, one JSON line a row; returns the file, which `cre score` reads too. */
export async function savePredictions(run: AnsweringRun, evaluation: KeptEvaluation): Promise<string> {
  const { examples, rows, extractions, source } = evaluation;
  const lines = examples.map(({ id, sentence, head, tail, headSpan, tailSpan, relations }, i) => {
    const known = new Map(extractions[i].predictions.map(({ relation, probability }) => [relation, probability]));
    // A label that a generated answer invented has no probability; the texts of a server without probabilities have none at all.
    const predictions = rows[i].predicted.map((relation) => {
      const probability = known.get(relation) ?? 0;
      return Number.isNaN(probability) ? { relation } : { relation, probability };
    });
    return writeMembers(new Map(), { id, sentence, head, tail, headSpan, tailSpan, relations, predictions });
  });
  const content = lines.map((line) => `${line}\n`).join("");
  const digest = await answersDigest(run, rowsDigest(examples));
  const files = answerFiles(run.folder, source?.split ?? null, digest);
  await writeFileAtomic(files.rows, content);
  const about = { ...source, rows: examples.length, answers: digest, content: contentSum(content) };
  await writeFileAtomic(files.about, `${JSON.stringify(about)}\n`);
  return files.rows;
}

const contentSum = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");

/**
 * The answers that an earlier evaluation of a run gave to these rows, scored; null when there is none, or when its files are damaged. Answers
 * of other weights, of another storage or of another way to choose relations are none.
 */
export async function findPredictions(
  run: AnsweringRun,
  examples: readonly Example[],
  split: SplitName | null,
): Promise<ScoredRow[] | null> {
  const digest = await answersDigest(run, rowsDigest(examples));
  const { rows, about } = answerFiles(run.folder, split, digest);
  if (!existsSync(about) || !existsSync(rows)) return null;
  try {
    const { answers, content } = await readJsonObject(about, "what an evaluation was made of");
    if (answers !== digest || content !== contentSum(await readFile(rows))) return null;
    const predicted: string[][] = [];
    for await (const { text } of readLines(rows, { maxLineBytes: MAX_LINE_BYTES })) {
      const { predictions } = JSON.parse(text ?? "") as { predictions: { relation: string }[] };
      predicted.push(predictions.map(({ relation }) => relation));
    }
    if (predicted.length !== examples.length) return null;
    return examples.map(({ relations = [], sentence }, i) => {
      return { gold: relations, predicted: predicted[i], argmax: predicted[i][0] ?? null, group: sentence };
    });
  } catch (error) {
    if (error instanceof UserError || error instanceof SyntaxError) return null;
    throw error;
  }
}
