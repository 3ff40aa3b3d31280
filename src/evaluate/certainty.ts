/** A row with its gold labels and what was predicted, the most probable first. */
export interface CertainRow {
  gold: readonly string[];
  predictions: readonly { relation: string; probability: number }[];
}

/** Predictions of at least this probability: their precision, and the share of all gold relations that they find. */
export interface PrecisionPoint {
  probability: number;
  precision: number;
  recall: number;
}

/** How far the probabilities of predictions can be believed. Fractions in [0, 1]. */
export interface Certainty {
  /** Expected calibration error of each row's first prediction: the mean gap between probability and hits, over ten bins of equal width. */
  calibrationError: number;
  /** Rows with a prediction. */
  rows: number;
  /** Of predicted relations, without "no relation": from the most probable ones on. Empty without any. */
  curve: PrecisionPoint[];
}

const BINS = 10;
const MOST_POINTS = 60;

/** Expected calibration error (Naeini et al. 2015; Guo et al. 2017) and the precision–recall curve of predictions. */
export function certaintyOf(rows: readonly CertainRow[], noRelation: string | null): Certainty {
  const firsts = rows.flatMap(({ gold, predictions: [first] }) =>
    first ? [{ probability: first.probability, hit: gold.includes(first.relation) }] : [],
  );
  const bins = Array.from({ length: BINS }, () => ({ rows: 0, probability: 0, hits: 0 }));
  for (const { probability, hit } of firsts) {
    const bin = bins[Math.min(BINS - 1, Math.floor(probability * BINS))];
    bin.rows++;
    bin.probability += probability;
    bin.hits += hit ? 1 : 0;
  }
  const gap = bins.reduce((sum, bin) => sum + Math.abs(bin.probability - bin.hits), 0);
  const curve = precisionCurve(rows, (relation) => relation !== noRelation);
  return { calibrationError: firsts.length === 0 ? 0 : gap / firsts.length, rows: firsts.length, curve };
}

/** The curve of predictions of some relations. Predictions of equal probability are one point. */
export function precisionCurve(rows: readonly CertainRow[], wanted: (relation: string) => boolean): PrecisionPoint[] {
  const total = rows.reduce((sum, { gold }) => sum + new Set(gold.filter(wanted)).size, 0);
  const found = rows
    .flatMap(({ gold, predictions }) => {
      return predictions
        .filter(({ relation }) => wanted(relation))
        .map(({ relation, probability }) => ({ probability, hit: gold.includes(relation) }));
    })
    .sort((a, b) => b.probability - a.probability);
  const points: PrecisionPoint[] = [];
  let hits = 0;
  for (const [i, { probability, hit }] of found.entries()) {
    if (hit) hits++;
    if (i + 1 < found.length && found[i + 1].probability === probability) continue;
    points.push({ probability, precision: hits / (i + 1), recall: total === 0 ? 0 : hits / total });
  }
  if (points.length <= MOST_POINTS) return points;
  return Array.from(
    { length: MOST_POINTS },
    (_, i) => points[Math.round((i * (points.length - 1)) / (MOST_POINTS - 1))],
  );
}

/**
 * The least probability from which on predictions had a precision, by a curve; null when they never had it. Points of few predictions prove
 * nothing: the curve must have found `leastRecall` of the relations there.
 */
export function thresholdFor(curve: readonly PrecisionPoint[], precision: number, leastRecall = 0.02): number | null {
  const enough = curve.filter((point) => point.precision >= precision && point.recall >= leastRecall);
  return enough.length === 0 ? null : Math.min(...enough.map(({ probability }) => probability));
}
