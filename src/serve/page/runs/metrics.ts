/** What the views read of metrics.json (GET /v1/runs/NAME/report). */
export interface Metrics {
  conventions: Record<string, { precision: number; recall: number; f1: number }>;
  macro: { f1: number };
  counts: { rows: number; sentences: number };
  references?: { name: string; f1: { micro?: number } }[];
  noRelation: string | null;
  relations: RelationScore[];
  confusion: { gold: string[]; predicted: string[]; counts: number[][] };
  data?: string;
  split?: string;
}

export interface RelationScore {
  relation: string;
  isNoRelation: boolean;
  support: number;
  predicted: number;
  hits: number;
  precision: number;
  recall: number;
  f1: number;
}

/** Pairs of labels that are taken for each other most often. */
export function confusionsOf({ confusion }: Pick<Metrics, "confusion">, most: number) {
  const pairs = confusion.counts.flatMap((row, i) =>
    row.flatMap((rows, j) => {
      const [gold, predicted] = [confusion.gold[i], confusion.predicted[j]];
      return gold !== predicted && rows > 0 ? [{ gold, predicted, rows }] : [];
    }),
  );
  return pairs.sort((a, b) => b.rows - a.rows).slice(0, most);
}
