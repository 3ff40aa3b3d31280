/** What GET /v1/runs tells; the page reads it too, so this file imports nothing. */
export interface ServerInfo {
  version: string;
  /** Base models in memory that adapters share. */
  sharedBases: number;
  runs: RunInfo[];
  /** Whether corrections are kept: the server has --work. */
  keepsLabelled: boolean;
  /** Whether texts without entities get names of the server: it has --entities. */
  hasEntities: boolean;
  limits: { textCharacters: number; fileBytes: number; pairs: number; entities: number };
}

/** What a client may know of a run; no path. */
export interface RunInfo {
  name: string;
  fingerprint: string;
  /** As in labels.json. */
  labels: {
    labels: string[];
    noRelation: string | null;
    inverses: Record<string, string>;
    symmetric: string[];
    types?: Record<string, [string, string][]>;
  };
  /** Name of the base model. */
  base: string | null;
  method: string;
  findsMentions: boolean;
  isCalibrated: boolean;
  hasReport: boolean;
  maxPromptTokens: number;
  backend: string;
  /** The retraining that it was switched to; null for the run that the server was started with. */
  retraining: string | null;
  /** Since when it answers under its name (ISO 8601). */
  servedSince: string;
  /** ISO 8601; null for a run whose training has not finished in its folder. */
  trainedAt: string | null;
  steps: number | null;
  evaluation: EvaluationSummary | null;
}

/** The last evaluation of a run. F1 values are fractions in [0, 1]. */
export interface EvaluationSummary {
  /** ISO 8601. */
  at: string;
  rows: number;
  sentences: number;
  f1: { micro: number; paper: number; macro: number };
  /** Of the micro F1; null where no bootstrap was made. */
  interval: { low: number; high: number; level: number } | null;
  /** Micro F1 of something simple on the same rows: always no relation, the linear floor. */
  references: { name: string; micro: number }[];
}
