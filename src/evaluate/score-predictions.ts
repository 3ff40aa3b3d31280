import { nearestName, UserError } from "../base/errors.ts";
import { jsonOf } from "../base/json-text.ts";
import { type Example, quoted } from "../data/example.ts";
import { noRelationLookalike } from "../data/no-relation.ts";
import { inputKey } from "../data/split.ts";
import { relationsOfAnswer } from "./answer-text.ts";
import type { BootstrapOptions } from "./bootstrap.ts";
import { computeMetrics, type Metrics } from "./metrics.ts";
import type { AnswerPrediction, LabelPrediction, PredictionFile } from "./predictions.ts";
import { labelsOfRows, type ScoredRow, type ScoringLabels } from "./rows.ts";

/** How predictions and gold rows were matched. Nothing is dropped without being counted here. */
export interface Matching {
  /** Gold rows after rows of one (sentence, head, tail) are merged. */
  goldRows: number;
  /** Gold rows that were merged into an earlier one. */
  mergedGoldRows: number;
  /** Lines with a prediction. */
  predictionLines: number;
  /** Lines that hold only the reason why their row could not be extracted. */
  failed: number;
  matched: number;
  /** Gold rows without a prediction; they are scored as an empty set. */
  missing: number;
  /** Predictions for a row that had one already; the first counts. */
  duplicates: number;
  /** Predictions for a row that the gold file does not have. */
  unmatched: number;
  /** Lines whose own label differs from the gold row at that place; the gold file counts. */
  goldDiffers: number;
  /** A label that may mean "no relation" by its name but is scored as a relation; null when there is none. */
  suspectedNoRelation: string | null;
  /** The first of these, in words. */
  notes: string[];
}

export interface ScoredPredictions {
  metrics: Metrics;
  rows: ScoredRow[];
  labels: ScoringLabels;
  matching: Matching;
}

export interface ScorePredictionsOptions {
  /** Default: the labels that occur in the gold rows, with `unknown` as no relation. */
  labels?: ScoringLabels;
  /** The label that means "no relation", in the place of the one of `labels`. */
  noRelation?: string;
  bootstrap?: BootstrapOptions | null;
}

const MAX_NOTES = 20;
const DEFAULT_NO_RELATION = "unknown";

/**
 * Scores a file of predictions. `gold` may be null only for answers that carry their own label (LLaMA-Factory); the bootstrap then draws
 * rows instead of sentences. Answers are matched by their order, which must be the order of the merged gold rows; our own lines by
 * (sentence, head, tail) and the spans, if there are any, or by id where they have no sentence. Throws a UserError when the gold has no
 * labels, when answers and gold rows differ in number, or when no prediction matches.
 */
export function scorePredictions(
  predictions: PredictionFile,
  gold: readonly Example[] | null,
  options: ScorePredictionsOptions = {},
): ScoredPredictions {
  const { rows, matching } = matchRows(predictions, gold);
  const labels = scoringLabels(rows, options);
  const isDeclared = options.noRelation !== undefined || (options.labels?.noRelation ?? null) !== null;
  const occurring = new Set(rows.flatMap(({ gold: own, predicted }) => [...own, ...predicted]));
  matching.suspectedNoRelation =
    isDeclared || (labels.noRelation !== null && occurring.has(labels.noRelation))
      ? null
      : noRelationLookalike(occurring);
  const metrics = computeMetrics(rows, labels, {
    bootstrap: options.bootstrap,
    mergedRows: matching.mergedGoldRows,
  });
  return { metrics, rows, labels, matching };
}

/** The labels to score by. Throws a UserError when the label that is said to mean "no relation" is none of them. */
function scoringLabels(rows: readonly ScoredRow[], { labels, noRelation }: ScorePredictionsOptions): ScoringLabels {
  if (noRelation === undefined) return labels ?? labelsOfRows(rows, DEFAULT_NO_RELATION);
  const known = labels ?? labelsOfRows(rows, null);
  const isKnown = known.labels.includes(noRelation);
  if (!isKnown && (labels !== undefined || !rows.some(({ predicted }) => predicted.includes(noRelation)))) {
    const near = nearestName(noRelation, known.labels);
    const hint = `The labels are ${known.labels.slice(0, 10).join(", ")}${known.labels.length > 10 ? ", …" : ""}.`;
    throw new UserError(
      `--no-relation ${quoted(noRelation)}: is not one of the labels${near ? `, did you mean ${quoted(near)}?` : "."}`,
      { hint },
    );
  }
  return labels ? { labels: labels.labels, noRelation } : labelsOfRows(rows, noRelation);
}

function matchRows(predictions: PredictionFile, gold: readonly Example[] | null) {
  if (predictions.kind === "labels") {
    if (gold === null) {
      throw new UserError(`${predictions.file}: its lines have no gold labels, expected a gold file too.`, {
        hint: "Add --gold FILE.",
      });
    }
    return matchLabels(predictions, mergeGold(gold));
  }
  return gold === null
    ? ownGold(predictions.lines)
    : matchAnswers(predictions.file, predictions.lines, mergeGold(gold));
}

interface GoldRow {
  example: Example;
  relations: string[];
  /** Of all rows that were merged into this one. */
  ids: Set<Example["id"]>;
}

/** What identifies a row: its texts and, where the data has them, the places of its mentions. */
type RowKey = Pick<Example, "sentence" | "head" | "tail" | "headSpan" | "tailSpan">;

interface MergedGold {
  rows: GoldRow[];
  byKey: Map<string, number>;
  /** For lines without spans; AMBIGUOUS where the texts alone do not tell two rows apart. */
  byTexts: Map<string, number>;
  merged: number;
}

const AMBIGUOUS = -1;

/** Rows of one (sentence, head, tail) and place become one, their labels in file order: the paper's rule for equal inputs. */
function mergeGold(examples: readonly Example[]): MergedGold {
  const rows: GoldRow[] = [];
  const byKey = new Map<string, number>();
  const byTexts = new Map<string, number>();
  let merged = 0;
  for (const [position, example] of examples.entries()) {
    if (example.relations === undefined) {
      throw new UserError(`Gold row ${position + 1} has no relations, expected the gold labels of every row.`, {
        hint: 'A JSONL gold file needs "relations": [...] on each line.',
      });
    }
    const key = inputKey(example);
    const known = byKey.get(key);
    if (known === undefined) {
      byKey.set(key, rows.length);
      addOnce(byTexts, textsOf(example), rows.length);
      rows.push({ example, relations: [...example.relations], ids: new Set() });
    } else {
      rows[known].relations.push(...example.relations);
      merged++;
    }
    if (example.id !== undefined) rows[known ?? rows.length - 1].ids.add(example.id);
  }
  if (rows.length === 0) throw new UserError("The gold file has no rows, expected at least one.");
  return { rows, byKey, byTexts, merged };
}

/** A key that names two rows names neither. */
function addOnce<K>(places: Map<K, number>, key: K, place: number): void {
  places.set(key, places.has(key) ? AMBIGUOUS : place);
}

function matchLabels({ file, lines, failedLines }: PredictionFile & { kind: "labels" }, gold: MergedGold) {
  const matching = { ...emptyMatching(gold, lines.length), failed: failedLines };
  const byId = new Map<Example["id"], number>();
  for (const [place, { ids }] of gold.rows.entries()) for (const id of ids) addOnce(byId, id, place);
  const chosen = new Map<number, { lines: LabelPrediction[]; ids: Set<Example["id"]> }>();
  for (const line of lines) {
    const key = rowKey(line);
    const place = key === null ? byId.get(line.id) : (gold.byKey.get(inputKey(key)) ?? gold.byTexts.get(textsOf(key)));
    const name = key === null ? `id ${jsonOf(line.id)}` : `(${key.head}, ${key.tail})`;
    if (place === undefined || place === AMBIGUOUS) {
      matching.unmatched++;
      note(
        matching,
        `line ${line.line}: ${name} is not ${place === undefined ? "" : "one single row "}in the gold file`,
      );
    } else {
      const earlier = chosen.get(place);
      if (earlier === undefined) {
        chosen.set(place, { lines: [line], ids: new Set([line.id]) });
      } else if (key === null && !earlier.ids.has(line.id)) {
        // Ids of gold rows that were merged: together their predictions are those of the one row.
        earlier.lines.push(line);
        earlier.ids.add(line.id);
      } else {
        matching.duplicates++;
        note(matching, `line ${line.line}: ${name} was predicted before on line ${earlier.lines[0].line}`);
      }
    }
  }
  if (chosen.size === 0) {
    throw new UserError(
      `${file}: none of its ${lines.length} predictions belongs to one of the ${gold.rows.length} gold rows.`,
      {
        hint: "Sentence, head and tail must be written exactly as in the gold file. Is it the right split?",
      },
    );
  }
  matching.matched = chosen.size;
  const rows = gold.rows.map(({ example, relations }, place): ScoredRow => {
    const lines = chosen.get(place)?.lines;
    if (lines !== undefined) {
      const predicted = lines.flatMap((line) => line.predicted);
      return { gold: relations, predicted, argmax: lines[0].argmax, group: example.sentence };
    }
    matching.missing++;
    note(matching, `gold row ${place + 1}: (${example.head}, ${example.tail}) has no prediction`);
    return { gold: relations, predicted: [], argmax: null, group: example.sentence, missing: true };
  });
  return { rows, matching };
}

function matchAnswers(file: string, lines: readonly AnswerPrediction[], gold: MergedGold) {
  if (lines.length !== gold.rows.length) {
    const merged = gold.merged > 0 ? ` after merging ${gold.merged} with equal sentence, head and tail` : "";
    throw new UserError(
      `${file}: has ${lines.length} answers, expected ${gold.rows.length}: one for each gold row${merged}, in the same order.`,
      { hint: "Score the answers without --gold to use the labels they carry." },
    );
  }
  const matching = emptyMatching(gold, lines.length);
  matching.matched = lines.length;
  const rows = lines.map((line, place): ScoredRow => {
    const { example, relations } = gold.rows[place];
    const label = relationsOfAnswer(line.label, example);
    if (!sameSet(label, relations)) {
      matching.goldDiffers++;
      note(
        matching,
        `line ${line.line}: its label says ${label.join(", ")}, gold row ${place + 1} says ${relations.join(", ")}`,
      );
    }
    return { gold: relations, predicted: relationsOfAnswer(line.predict, example), group: example.sentence };
  });
  if (matching.goldDiffers * 2 > lines.length) {
    throw new UserError(
      `${file}: the labels of ${matching.goldDiffers} of ${lines.length} answers differ from the gold row at the same place, expected the order of the gold file.`,
      { hint: "Score the answers without --gold to use the labels they carry." },
    );
  }
  return { rows, matching };
}

function ownGold(lines: readonly AnswerPrediction[]) {
  const rows = lines.map((line): ScoredRow => ({ gold: line.gold, predicted: line.predicted }));
  const matching = emptyMatching({ rows, merged: 0 }, lines.length);
  matching.matched = lines.length;
  return { rows, matching };
}

function emptyMatching(gold: { rows: readonly unknown[]; merged: number }, predictionLines: number): Matching {
  return {
    goldRows: gold.rows.length,
    mergedGoldRows: gold.merged,
    predictionLines,
    failed: 0,
    matched: 0,
    missing: 0,
    duplicates: 0,
    unmatched: 0,
    goldDiffers: 0,
    suspectedNoRelation: null,
    notes: [],
  };
}

function note(matching: Matching, text: string): void {
  if (matching.notes.length < MAX_NOTES) matching.notes.push(text);
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  const left = new Set(a);
  const right = new Set(b);
  return left.size === right.size && [...left].every((item) => right.has(item));
}

/** Null for a line that has only an id. */
function rowKey({ sentence, head, tail, headSpan, tailSpan }: LabelPrediction): RowKey | null {
  if (sentence === undefined || head === undefined || tail === undefined) return null;
  return { sentence, head, tail, headSpan, tailSpan };
}

function textsOf({ sentence, head, tail }: RowKey): string {
  return JSON.stringify([sentence, head, tail]);
}
