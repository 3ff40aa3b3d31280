import type { Triple, TripleMention } from "../../../extract/triples.ts";

/** What a person said of a relation. */
export type Verdict = "confirmed" | "corrected" | "rejected" | "added";

/** A relation on the page: a triple of the server, or one that a person added, and what was said of it. */
export interface PageTriple extends Triple {
  /** Equal for the same pair of places and the same label of the model. */
  key: string;
  /** Places in UTF-16 units of `sentence`, [start, end). */
  headSpan: [number, number];
  tailSpan: [number, number];
  /** Null while nobody judged it. */
  verdict: Verdict | null;
  /** The label that holds: the model's, or the one that it was corrected to. */
  label: string;
  /** Id of its row in the labelled set; null before it is kept. */
  rowId: string | null;
  /** Whether the model gave it; a person's own has no probability. */
  isOfModel: boolean;
}

export type { Triple, TripleMention };
