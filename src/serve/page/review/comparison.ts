/** What `cre compare --json` says of two runs, as GET /v1/retrain/ID has it: a is the earlier run, b the new one. */
export interface Comparison {
  split: string;
  f1: Record<"micro" | "paper" | "macro", Difference>;
  relations: { relation: string; isNoRelation: boolean; support: number; a: number; b: number; difference: number }[];
  counts: { rows: number; sentences: number; changed: Record<Change, number> };
  bootstrap: { draws: number; level: number };
  changed?: ChangedRow[];
}

export interface Difference {
  a: number;
  b: number;
  difference: number;
  interval: { low: number; high: number };
  p: number;
}

export type Change = "right-to-wrong" | "wrong-to-right" | "wrong-to-wrong";

export interface ChangedRow {
  change: Change;
  sentence: string;
  head: string;
  tail: string;
  headSpan?: { start: number; end: number };
  tailSpan?: { start: number; end: number };
  /** Gold. */
  relations: string[];
  /** The answer of each run of a side: here there is one. */
  a: string[][];
  b: string[][];
}

/** Better or worse beyond chance, or a difference that chance explains, or none at all. */
export type Outcome = "better" | "worse" | "unclear" | "equal";

/** What the interval of a difference allows to say. */
export function outcomeOf({
  difference,
  interval: { low, high },
}: Pick<Difference, "difference" | "interval">): Outcome {
  if (low > 0) return "better";
  if (high < 0) return "worse";
  return difference === 0 && low === 0 && high === 0 ? "equal" : "unclear";
}
