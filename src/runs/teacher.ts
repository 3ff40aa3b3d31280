import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import type { Example, LabelSet } from "../data/example.ts";
import { readJsonl } from "../data/jsonl.ts";
import { sharesOf } from "../data/soft-labels.ts";
import { inputKey } from "../data/split.ts";
import { DISTILL_DEFAULTS, type DistillSettings, type Recipe } from "../recipe/schema.ts";
import type { EncodedExample } from "../train/batches.ts";
import { encodeTaught } from "../train/soft-targets.ts";
import type { OpenedRecipe } from "./open.ts";
import type { RunFolder } from "./run-folder.ts";
import { encodeExamples } from "./train-run.ts";

/** The label distributions that a run learns from: those of other runs, or the soft labels of its rows. */
export interface Teacher {
  settings: DistillSettings;
  /** Of the training rows, by their input, in the order of the labels. */
  ofRows: ReadonlyMap<string, Float64Array>;
  /** Rows without labels of their own. */
  unlabelled: readonly { example: Example; probabilities: Float64Array }[];
}

/** The files of a run that is distilled: what its teachers are, their mean distributions, and those of each until all have answered. */
export function teacherFiles({ directory }: Pick<RunFolder, "directory">): {
  about: string;
  rows: string;
  parts: string;
} {
  return {
    about: join(directory, "teacher.json"),
    rows: join(directory, "teacher.jsonl"),
    parts: join(directory, "teachers"),
  };
}

/** Soft labels take the place of a row's own: these are made of them. */
const SOFT_LABELS: DistillSettings = { ...DISTILL_DEFAULTS, goldWeight: 0 };

/** The soft labels of training rows; null where no row has any. */
export function softTeacher(rows: readonly Example[], { labels }: LabelSet): Teacher | null {
  const soft = rows.filter(({ softLabels }) => softLabels !== undefined);
  if (soft.length === 0) return null;
  const ofRows = new Map(soft.map((row) => [inputKey(row), sharesOf(row, labels)]));
  return { settings: SOFT_LABELS, ofRows, unlabelled: [] };
}

/** The distributions that a run of a recipe with `distill` learns from; null for another recipe. Throws a UserError when they are missing or damaged. */
export async function teacherFor(folder: RunFolder, { distill }: Recipe, labels: LabelSet): Promise<Teacher | null> {
  if (!distill) return null;
  const { rows, about } = teacherFiles(folder);
  if (!existsSync(rows)) {
    const hint = existsSync(about)
      ? `Let the teachers answer the rest: cre distill --resume --run ${folder.directory}`
      : "Train it with cre distill RUN… --into RECIPE, or remove distill from the recipe.";
    throw new UserError(`${folder.directory}: its recipe has distill, but there is no ${rows} to learn from.`, {
      hint,
    });
  }
  return readTeacher(rows, labels, distill);
}

async function readTeacher(file: string, labels: LabelSet, settings: DistillSettings): Promise<Teacher> {
  const ofRows = new Map<string, Float64Array>();
  const unlabelled: { example: Example; probabilities: Float64Array }[] = [];
  for await (const row of readJsonl(file, { labels })) {
    const damage = (problem: string) =>
      new UserError(`${file}, line ${row.line}: ${problem}.`, {
        hint: "The file was changed since the teachers answered: delete the run and distil again.",
      });
    if (row.problem !== null) throw damage(row.problem);
    const { probabilities: given } = row.object;
    // A row that a teacher could not read.
    if (given === null) continue;
    if (!isDistribution(given, labels.labels.length)) {
      throw damage(`has no "probabilities", expected ${labels.labels.length} numbers that add up to 1`);
    }
    const probabilities = Float64Array.from(given);
    if (row.example.relations) ofRows.set(inputKey(row.example), probabilities);
    else unlabelled.push({ example: row.example, probabilities });
  }
  return { settings, ofRows, unlabelled };
}

function isDistribution(value: unknown, count: number): value is number[] {
  if (!Array.isArray(value) || value.length !== count) return false;
  if (!value.every((p) => typeof p === "number" && p >= 0 && p <= 1.001)) return false;
  return Math.abs(value.reduce((sum, p) => sum + p, 0) - 1) < 1e-2;
}

/** Encodes training rows with soft targets, then the unlabelled rows and the drawn ones, which no teacher saw; a training row without a distribution is encoded with its labels alone. */
export function encodeTaughtRows(
  bench: Pick<OpenedRecipe, "recipe" | "renderer">,
  examples: readonly Example[],
  { settings, ofRows, unlabelled }: Teacher,
  drawn: readonly Example[] = [],
): { encoded: EncodedExample[]; truncated: number; notice: string } {
  const { recipe, renderer } = bench;
  const { distill, train } = recipe;
  const encoded: EncodedExample[] = [];
  const sums = { truncated: 0, taught: 0, answers: 0, cut: 0, alone: 0 };
  const add = (example: Example, probabilities: Float64Array) => {
    const row = encodeTaught(renderer, example, probabilities, settings, train.severalRelations);
    encoded.push(row.encoded);
    sums.taught++;
    sums.answers += row.encoded.answers?.length ?? 1;
    sums.cut += row.cut;
    if (row.truncated) sums.truncated++;
  };
  for (const example of examples) {
    const probabilities = ofRows.get(inputKey(example));
    if (probabilities) add(example, probabilities);
    else {
      const own = encodeExamples(bench, [example]);
      encoded.push(...own.encoded);
      sums.truncated += own.truncated;
      sums.alone++;
    }
  }
  for (const { example, probabilities } of unlabelled) add(example, probabilities);
  const others = encodeExamples(bench, drawn);
  encoded.push(...others.encoded);
  sums.truncated += others.truncated;
  return { encoded, truncated: sums.truncated, notice: distill ? noticeOf(sums, unlabelled.length) : softNotice(sums) };
}

function softNotice({ taught, answers, alone }: { taught: number; answers: number; alone: number }): string {
  const without = alone > 0 ? `; ${alone} rows have labels alone` : "";
  return `soft labels of ${taught} rows are learned: ${(answers / Math.max(1, taught)).toFixed(2)} answers a row${without}.`;
}

function noticeOf(
  { taught, answers, cut, alone }: { taught: number; answers: number; cut: number; alone: number },
  unlabelled: number,
): string {
  const rows = `soft targets of ${taught} rows${unlabelled > 0 ? ` (${unlabelled} of them unlabelled)` : ""}`;
  const each = `${(answers / Math.max(1, taught)).toFixed(2)} answers a row`;
  const left = `${((100 * cut) / Math.max(1, taught)).toFixed(2)} % of the teachers' probability is in labels left out`;
  const without = alone > 0 ? `; ${alone} training rows that a teacher could not read keep their labels alone` : "";
  return `${rows}: ${each}, ${left}${without}.`;
}
