// Errors: a UserError is a mistake of the caller with a message to show; RunStopped is a training that can be resumed.
export { UserError, UserErrors } from "./base/errors.ts";
// Cross-validation over training rows: choosing values of a recipe, doubtful labels.
export {
  type AuditEvent,
  type AuditOptions,
  AuditStopped,
  audit,
  dropSuspicious,
  saveAudit,
} from "./crossval/audit.ts";
export type { Audit, DoubtedRow, PrecisionAtK, ReversedRow } from "./crossval/doubt.ts";
export {
  type TunedCandidate,
  type TuneEvent,
  type TuneOptions,
  type TuneResult,
  TuningStopped,
  tune,
} from "./crossval/tune.ts";
// Data: examples, label sets and the readers of labelled data.
export { type Dataset, type DatasetFormat, openDataset } from "./data/dataset.ts";
export type { Example, LabelSet, Span } from "./data/example.ts";
export { type Conversion, type ConversionOptions, convertLabelled } from "./data/formats/convert-labelled.ts";
export { type JsonlLine, type JsonlOptions, readJsonl } from "./data/jsonl.ts";
export { createLabelSet, type LabelSetJson } from "./data/label-set.ts";
export type { BadRow, OnBadRow, Split, SplitCounts, SplitName } from "./data/split.ts";
// Documents: files as texts, texts as sentences, offsets, entities.
export type { BadDocument, Document, Sentence } from "./documents/document.ts";
export { type Entities, openEntities, parseEntitySource } from "./documents/entities.ts";
export { type CodePointOffsets, codePointOffsets } from "./documents/offsets.ts";
export { emptyReadCounts, type ReadCounts, type ReadItem } from "./documents/read/format.ts";
export type { ReadLimits } from "./documents/read/limits.ts";
export { type ReadOptions, readDocuments } from "./documents/read/read-documents.ts";
export { type SentenceOptions, splitSentences } from "./documents/sentences.ts";
// Several runs as one.
export type { TeacherEvent } from "./ensemble/ask-teachers.ts";
export { type DistillEvent, type DistillOptions, type DistillStop, distill } from "./ensemble/distill.ts";
export { type EnsembleEvaluation, type EvaluateRunsOptions, evaluateRuns } from "./ensemble/evaluate-runs.ts";
export { type OpenedRuns, openRuns } from "./ensemble/open-runs.ts";
// Scores.
export type { BootstrapOptions } from "./evaluate/bootstrap.ts";
export type { ChangedRow, Comparison, Difference, RelationDifference, RowChange } from "./evaluate/compare.ts";
export { type Evaluation, evaluate } from "./evaluate/evaluate.ts";
export type { Metrics, RelationScore } from "./evaluate/metrics.ts";
export type { Reference } from "./evaluate/references.ts";
export type { Score, ScoredRow } from "./evaluate/rows.ts";
export { type ScoreOptions, score } from "./evaluate/score.ts";
export type { Matching, ScoredPredictions } from "./evaluate/score-predictions.ts";
// Extraction.
export type { Extraction, Extractor, ExtractorSettings, Prediction, Unextracted } from "./extract/extractor.ts";
// Documents into a graph.
export { extractGraph, type GraphOptions, type GraphResult } from "./graph/extract-graph.ts";
export { GRAPH_FORMATS, type GraphFormat } from "./graph/write.ts";
// The linear companion: a classifier in seconds, and how a run mixes it in.
export { type TrainedCompanion, trainCompanion } from "./linear/companion.ts";
export { openLinear, saveLinear } from "./linear/file.ts";
export type { Mixture } from "./linear/mixture.ts";
export { type LinearModel, linearProbabilities } from "./linear/model.ts";
export type { DecodeSettings } from "./recipe/answer-schema.ts";
// Recipes.
export { readRecipe } from "./recipe/read.ts";
export type { Recipe } from "./recipe/schema.ts";
// Runs: training them, opening them, evaluating them.
export type { LoopEvent } from "./runs/checkpointed-loop.ts";
export type { CompanionEvent } from "./runs/companion.ts";
export type { RunCompanion } from "./runs/companion-read.ts";
export type { CompanionScores, CompanionValidation } from "./runs/companion-scores.ts";
export { type CompareOptions, type ComparisonEvent, compareRuns, type RunComparison } from "./runs/compare-runs.ts";
export {
  type EvaluateOptions,
  type EvaluationEvent,
  type RunEvaluation,
  type RunMetricsJson,
  saveEvaluation,
} from "./runs/evaluation.ts";
export type { AdapterSource, RunSource } from "./runs/given-adapter.ts";
export type { DataEvent, TrainingData } from "./runs/labelled-rows.ts";
export type { NoticeEvent } from "./runs/notice.ts";
export type { OpenOptions } from "./runs/open.ts";
export { openRun, type Run, RunStopped } from "./runs/run.ts";
export type { RunFolder } from "./runs/run-folder.ts";
export type { StopOptions, StopSignal } from "./runs/stop-signals.ts";
export type { TestLook } from "./runs/test-looks.ts";
export type { RunEvent } from "./runs/train-run.ts";
export type { Validation } from "./runs/trained-weights.ts";
export {
  type LoadingEvent,
  type RecipeInput,
  type TrainingEvent,
  type TrainOptions,
  train,
} from "./runs/training.ts";
export type { TrainStep } from "./train/train.ts";
