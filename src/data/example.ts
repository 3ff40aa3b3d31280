/** Character offsets [start, end) into a sentence, in UTF-16 code units as JavaScript counts them. */
export interface Span {
  start: number;
  end: number;
}

/** A sentence with two entities in it and, where known, the relations between them (of several rows, merged). */
export interface Example {
  sentence: string;
  head: string;
  tail: string;
  /** The gold labels in file order, repeats kept; undefined when the example is only to be extracted from. */
  relations?: string[];
  /** Where the mention stands, when the data says so; otherwise every occurrence counts. */
  headSpan?: Span;
  tailSpan?: Span;
  /** Whatever identifies the row to its owner; kept as it came. */
  id?: string | number;
}

/** The closed set of labels of a schema. */
export interface LabelSet {
  /** All labels in their declared order. */
  labels: readonly string[];
  /** The label that means "no relation", or null when the schema has none. */
  noRelation: string | null;
  /** label → the label that holds for (tail, head); a symmetric label maps to itself; a label without a known inverse is absent. */
  inverses: ReadonlyMap<string, string>;
}
