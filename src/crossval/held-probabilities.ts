import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { readLines, writeFileAtomic } from "../base/files.ts";
import type { Example } from "../data/example.ts";
import { type Fold, foldsBySentence } from "../data/folds.ts";
import { windowsOf } from "../extract/windows.ts";
import { linearProbabilities } from "../linear/model.ts";
import { trainLinear } from "../linear/train.ts";
import { openRun } from "../runs/run.ts";
import { rowsDigest } from "../runs/saved-predictions.ts";
import type { FoldRows } from "./candidates.ts";
import { type FoldOptions, type FoldRun, FoldsStopped, trainFold } from "./fold-run.ts";
import { type FoldPlan, foldRun } from "./plan.ts";

/** The probability of every label for each row, by models that did not see the row's sentence; both in their given order. */
export type HeldProbabilities = ArrayLike<number>[];

/** Cross-validated probabilities of the linear companion; `onFold` is called when a fold is done. */
export async function linearHeldProbabilities(
  { examples, labels }: Pick<FoldRows, "examples" | "labels">,
  settings: { folds: number; seed: number; signal: AbortSignal; onFold: (done: number, total: number) => void },
): Promise<HeldProbabilities> {
  const { seed, signal, onFold } = settings;
  const folds = foldsBySentence(examples, settings.folds, seed);
  const found: HeldProbabilities = new Array(examples.length);
  onFold(0, folds.length);
  for (const [i, { train, held }] of folds.entries()) {
    // Signals are heard between folds.
    await nextTurn();
    if (signal.aborted) throw new FoldsStopped();
    const pick = (places: readonly number[]) => places.map((place) => examples[place]);
    const model = trainLinear(pick(train), labels, { seed });
    place(found, held, linearProbabilities(model, pick(held)));
    onFold(i + 1, folds.length);
  }
  return found;
}

/** What happens while the language model's folds are trained and answer. */
export type HeldEvent =
  | { kind: "fold"; fold: number; folds: number }
  | { kind: "in fold"; fold: number; event: Parameters<FoldOptions["onEvent"]>[0] };

/** Cross-validated probabilities of the language model of a plan's only candidate. Finished folds are kept. */
export async function modelHeldProbabilities(
  plan: FoldPlan,
  { signal, onEvent }: { signal: AbortSignal; onEvent: (event: HeldEvent) => void },
): Promise<HeldProbabilities> {
  const found: HeldProbabilities = new Array(plan.rows.examples.length);
  const [candidate] = plan.candidates;
  for (const [fold, { held }] of plan.folds.entries()) {
    onEvent({ kind: "fold", fold: fold + 1, folds: plan.folds.length });
    const run = foldRun(plan, candidate, candidate.recipe.seed, fold);
    const options: FoldOptions = { signal, onEvent: (event) => onEvent({ kind: "in fold", fold: fold + 1, event }) };
    await trainFold(run, options);
    place(found, held, await probabilitiesOf(run, plan.rows.labels.labels, options));
  }
  return found;
}

function place(found: HeldProbabilities, held: Fold["held"], own: readonly ArrayLike<number>[]): void {
  for (const [i, row] of held.entries()) found[row] = own[i];
}

const MAX_LINE_BYTES = 10_000_000;
/** Digits of a kept probability. */
const DIGITS = 6;

/**
 * The language model's own probabilities of a trained fold's held-out rows, kept in its folder. Each row is asked in its own direction alone,
 * so that the answer to the reversed row says something of its own.
 */
async function probabilitiesOf(
  { directory, held }: FoldRun,
  labels: readonly string[],
  { signal, onEvent }: FoldOptions,
): Promise<Float64Array[]> {
  // A run with a weight of the companion in its recipe once gave the mixture's.
  const digest = createHash("sha256")
    .update(JSON.stringify([rowsDigest(held), labels, "model alone"]))
    .digest("hex");
  const file = join(directory, "predictions", `label-probabilities-${digest.slice(0, 8)}.jsonl`);
  const kept = existsSync(file) ? await keptProbabilities(file, held, labels) : null;
  if (kept !== null) return kept;
  const run = await openRun(directory, {
    decode: { method: "labels", bothDirections: false, noRelationWeight: 1, companion: 0 },
    onNotice: (text) => onEvent({ kind: "notice", text }),
    onLoad: (done, total) => onEvent({ kind: "loading", done, total }),
  });
  const found: Float64Array[] = [];
  try {
    for await (const window of windowsOf(held, WINDOW_ROWS)) {
      if (signal.aborted) throw new FoldsStopped();
      for (const { probabilities } of await run.extract(window)) found.push(probabilities);
      onEvent({ kind: "rows", done: found.length, total: held.length });
    }
  } finally {
    await run.close();
  }
  const lines = found.map(
    (row) => `${JSON.stringify(Array.from(row, (value) => Number(value.toPrecision(DIGITS))))}\n`,
  );
  await writeFileAtomic(file, lines.join(""));
  // As they are read back, so that a resumed work gives equal numbers.
  return (await keptProbabilities(file, held, labels)) ?? found;
}

const WINDOW_ROWS = 128;

async function keptProbabilities(
  file: string,
  held: readonly Example[],
  labels: readonly string[],
): Promise<Float64Array[] | null> {
  const found: Float64Array[] = [];
  for await (const { text } of readLines(file, { maxLineBytes: MAX_LINE_BYTES })) {
    try {
      const row = JSON.parse(text ?? "");
      const isRow =
        Array.isArray(row) && row.length === labels.length && row.every((value) => typeof value === "number");
      if (!isRow) return null;
      found.push(Float64Array.from(row as number[]));
    } catch {
      return null;
    }
  }
  return found.length === held.length ? found : null;
}
