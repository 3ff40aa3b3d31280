/** A part of a sentence that the model names as an entity, before it is decided on. */
export interface SpanShare {
  text: string;
  /** Every place of the text in the sentence: UTF-16 code units, in order. */
  starts: readonly number[];
  /** Its share of the probability over all parts of the sentence, 0..1. */
  share: number;
}

/** An entity that was found in a sentence. */
export interface FoundMention {
  text: string;
  /** Places in the sentence that no more probable mention covers: UTF-16 code units, in order. */
  starts: number[];
  probability: number;
}

/**
 * From a share of the probability to the probability of being a mention: logistic in log share and log (share / largest share of the sentence). A
 * sentence with k mentions gives each about 1/k, so neither number alone would do.
 */
export interface MentionScale {
  bias: number;
  ofShare: number;
  ofRatio: number;
  /** Least probability of a mention that is kept. */
  threshold: number;
}

/** Without validation rows: a mention has at least a third of the largest share. */
export const USUAL_SCALE: MentionScale = { bias: 2.2, ofShare: 0, ofRatio: 2, threshold: 0.5 };

/** A smaller share is not considered. */
export const LEAST_SHARE = 1e-3;

const features = (share: number, largest: number): [number, number, number] => {
  const least = LEAST_SHARE / 10;
  return [1, Math.log(Math.max(share, least)), Math.log(Math.max(share, least) / Math.max(largest, least))];
};

export function mentionProbability({ bias, ofShare, ofRatio }: MentionScale, share: number, largest: number): number {
  const [, logShare, logRatio] = features(share, largest);
  return 1 / (1 + Math.exp(-(bias + ofShare * logShare + ofRatio * logRatio)));
}

/** The mentions of a sentence: the most probable first, those that overlap a more probable one left out where they do. */
export function chooseMentions(
  shares: readonly SpanShare[],
  scale: MentionScale,
  threshold = scale.threshold,
): FoundMention[] {
  const largest = shares.reduce((most, { share }) => Math.max(most, share), 0);
  const scored = shares
    .map((span) => ({ ...span, probability: mentionProbability(scale, span.share, largest) }))
    .filter(({ probability }) => probability >= threshold)
    .sort((a, b) => b.probability - a.probability || b.text.length - a.text.length || a.starts[0] - b.starts[0]);
  const taken: { start: number; end: number }[] = [];
  const found: FoundMention[] = [];
  for (const { text, starts, probability } of scored) {
    const free = starts.filter((start) => taken.every((one) => start >= one.end || start + text.length <= one.start));
    if (free.length === 0) continue;
    for (const start of free) taken.push({ start, end: start + text.length });
    found.push({ text, starts: free, probability });
  }
  return found;
}

/** A sentence with its spans and the mentions that rows name. */
export interface MentionRow {
  shares: readonly SpanShare[];
  gold: readonly string[];
}

const NEWTON_STEPS = 30;
const RIDGE = 1e-2;
const THRESHOLDS = Array.from({ length: 19 }, (_, i) => (i + 1) / 20);

/**
 * Fits the scale by likelihood (Newton's method, a small ridge) on rows that the model has not learnt, then the threshold with the highest F1 of
 * mentions. Returns the usual scale when the rows have no mention or nothing else.
 */
export function fitMentionScale(rows: readonly MentionRow[]): { scale: MentionScale; f1: number } {
  const points = rows.flatMap(({ shares, gold }) => {
    const largest = shares.reduce((most, { share }) => Math.max(most, share), 0);
    return shares.map(({ text, share }) => ({ x: features(share, largest), y: gold.includes(text) ? 1 : 0 }));
  });
  const isOneSided = points.every(({ y }) => y === 1) || points.every(({ y }) => y === 0);
  const [bias, ofShare, ofRatio] = isOneSided
    ? [USUAL_SCALE.bias, USUAL_SCALE.ofShare, USUAL_SCALE.ofRatio]
    : logistic(points);
  const scale = { bias, ofShare, ofRatio, threshold: USUAL_SCALE.threshold };
  let best = { threshold: scale.threshold, f1: mentionF1(rows, scale, scale.threshold) };
  for (const threshold of THRESHOLDS) {
    const f1 = mentionF1(rows, scale, threshold);
    if (f1 > best.f1) best = { threshold, f1 };
  }
  return { scale: { ...scale, threshold: best.threshold }, f1: best.f1 };
}

/** F1 of the texts of mentions, each text of a sentence once. */
export function mentionF1(rows: readonly MentionRow[], scale: MentionScale, threshold = scale.threshold): number {
  let [hits, found, gold] = [0, 0, 0];
  for (const row of rows) {
    const chosen = chooseMentions(row.shares, scale, threshold);
    hits += chosen.filter(({ text }) => row.gold.includes(text)).length;
    found += chosen.length;
    gold += row.gold.length;
  }
  return found + gold === 0 ? 0 : (2 * hits) / (found + gold);
}

function logistic(points: readonly { x: [number, number, number]; y: number }[]): [number, number, number] {
  const w: [number, number, number] = [0, 0, 0];
  for (let step = 0; step < NEWTON_STEPS; step++) {
    const gradient = w.map((value) => -RIDGE * value);
    const curvature = [0, 1, 2].map((i) => [0, 1, 2].map((j) => (i === j ? RIDGE : 0)));
    for (const { x, y } of points) {
      const p = 1 / (1 + Math.exp(-(w[0] * x[0] + w[1] * x[1] + w[2] * x[2])));
      for (const i of [0, 1, 2]) {
        gradient[i] += (y - p) * x[i];
        for (const j of [0, 1, 2]) curvature[i][j] += p * (1 - p) * x[i] * x[j];
      }
    }
    const change = solve3(curvature, gradient);
    for (const i of [0, 1, 2]) w[i] += change[i];
    if (Math.max(...change.map(Math.abs)) < 1e-9) break;
  }
  return w;
}

/** Gaussian elimination with pivoting; the matrix is positive definite. */
function solve3(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  for (const i of [0, 1, 2]) {
    const pivot = [i, i + 1, i + 2].filter((r) => r < 3).sort((a, b) => Math.abs(rows[b][i]) - Math.abs(rows[a][i]))[0];
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    for (const r of [0, 1, 2]) {
      if (r === i) continue;
      const factor = rows[r][i] / rows[i][i];
      for (const c of [0, 1, 2, 3]) rows[r][c] -= factor * rows[i][c];
    }
  }
  return [0, 1, 2].map((i) => rows[i][3] / rows[i][i]);
}
