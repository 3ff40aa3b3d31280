/** A split as GET /v1/datasets counts it. */
export interface Split {
  rows: number;
  badRows: number;
  sentences: number;
  noRelationOnly: number;
  multiRelation: number;
  lengths: {
    mean: number;
    median: number;
    p95: number;
    max: number;
    bars: { from: number; to: number; rows: number }[];
  };
  labels: Record<string, number>;
}
