/** A text to read, with where it came from. */
export interface Document {
  /** Unique in the input: path relative to the given folder, with "#LINE" (1-based) for files of many documents. */
  id: string;
  text: string;
  /** Other fields of the row (CSV, JSONL, Parquet), unchanged; {} for whole files. */
  fields: Record<string, unknown>;
}
/** A piece of a document. Offsets are UTF-16 code units into the document's text. */
export interface Sentence {
  text: string;
  start: number;
  end: number;
}
/** A document (or a row of one) that could not be read. */
export interface BadDocument {
  id: string;
  reason: string;
}
