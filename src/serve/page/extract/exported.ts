import type { PageTriple } from "./page-triple.ts";

const round = (probability: number) => Number(probability.toFixed(6));

/** Relations as JSON lines: the triples of `cre extract`, with the verdict where there is one. */
export function jsonLines(triples: readonly PageTriple[]): string {
  return triples
    .map(({ document, sentence, sentenceStart, head, tail, label, relation, probability, run, verdict, isOfModel }) => {
      const model = verdict === "corrected" ? { modelRelation: relation } : {};
      const answer = isOfModel ? { probability: round(probability), run } : {};
      const places = { document, sentence, sentenceStart, head, relation: label, tail };
      return `${JSON.stringify({ ...places, ...answer, ...model, ...(verdict === null ? {} : { verdict }) })}\n`;
    })
    .join("");
}

const COLUMNS = [
  ...["document", "head", "headType", "relation", "tail", "tailType", "probability", "verdict", "modelRelation"],
  ...["sentence", "headStart", "headEnd", "tailStart", "tailEnd"],
];

/** Relations as CSV with a byte order mark, which spreadsheets need to read Chinese. Places are code points of the document. */
export function csv(triples: readonly PageTriple[]): string {
  const rows = triples.map(({ document, head, tail, label, relation, probability, verdict, isOfModel, sentence }) => [
    ...[document, head.text, head.type ?? "", label, tail.text, tail.type ?? ""],
    ...[isOfModel ? String(round(probability)) : "", verdict ?? "", isOfModel ? relation : "", sentence],
    ...[head.start, head.end, tail.start, tail.end].map(String),
  ]);
  return `\ufeff${[COLUMNS, ...rows].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("")}`;
}

/** A cell that a spreadsheet would compute gets an apostrophe in front, so that a text never runs as a formula. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
