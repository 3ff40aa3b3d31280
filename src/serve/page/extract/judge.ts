import type { PageTriple, Verdict } from "./page-triple.ts";

/** A row of POST /v1/labelled. */
export interface LabelledRow {
  id?: string;
  sentence: string;
  head: string;
  tail: string;
  headSpan: [number, number];
  tailSpan: [number, number];
  verdict: Verdict;
  relations?: string[];
  model?: { fingerprint: string; predictions: { relation: string; probability: number }[] };
}

/** Two places of a sentence, asked of a run: equal wherever the sentence is, so that its row is replaced when it is judged again. */
export const placeKey = (
  run: string,
  { sentence, headSpan, tailSpan }: Pick<PageTriple, "sentence" | "headSpan" | "tailSpan">,
): string => JSON.stringify([run, sentence, headSpan, tailSpan]);

export type Edit =
  | { kind: "confirm"; key: string }
  | { kind: "correct"; key: string; label: string }
  | { kind: "reject"; key: string }
  /** Takes back what was said; a person's own relation goes away. */
  | { kind: "undo"; key: string };

/** The relations after an edit; the same list where it changes nothing. */
export function edited(triples: readonly PageTriple[], edit: Edit): readonly PageTriple[] {
  const at = triples.findIndex(({ key }) => key === edit.key);
  if (at < 0) return triples;
  const triple = triples[at];
  const next = (change: Partial<PageTriple> | null) =>
    change === null ? triples.toSpliced(at, 1) : triples.with(at, { ...triple, ...change });
  if (!triple.isOfModel) {
    if (edit.kind === "undo" || edit.kind === "reject") return next(null);
    return edit.kind === "correct" ? next({ label: edit.label }) : triples;
  }
  switch (edit.kind) {
    case "undo":
      return next({ verdict: null, label: triple.relation });
    case "confirm":
      return next({ verdict: "confirmed", label: triple.relation });
    case "reject":
      return next({ verdict: "rejected", label: triple.relation });
    case "correct":
      if (edit.label === triple.relation) return next({ verdict: "confirmed", label: triple.relation });
      return next({ verdict: "corrected", label: edit.label });
  }
}

/**
 * The row that says what holds between two places, from all relations of the pair; null where nobody judged one. A label that was rejected does
 * not hold; one that was not judged beside one that was, does.
 */
export function rowOfPair(
  ofPair: readonly PageTriple[],
  answered: LabelledRow["model"] | null = null,
): LabelledRow | null {
  if (ofPair.every(({ verdict }) => verdict === null)) return null;
  const [{ sentence, head, tail, headSpan, tailSpan }] = ofPair;
  const ofModel = ofPair.filter(({ isOfModel }) => isOfModel);
  const holding = [...new Set(ofPair.filter(({ verdict }) => verdict !== "rejected").map(({ label }) => label))];
  const before = ofModel.map(({ relation }) => relation);
  const isSame = holding.length === before.length && holding.every((label) => before.includes(label));
  const verdict: Verdict =
    holding.length === 0 ? "rejected" : isSame ? "confirmed" : before.length === 0 ? "added" : "corrected";
  const predictions = ofModel.map(({ relation, probability }) => ({ relation, probability }));
  const model = predictions.length > 0 ? { fingerprint: ofModel[0].run, predictions } : answered;
  return {
    ...{ sentence, head: head.text, tail: tail.text, headSpan, tailSpan, verdict },
    ...(holding.length > 0 ? { relations: holding } : {}),
    ...(model === null || model === undefined ? {} : { model }),
  };
}
