import type { Comparison } from "./comparison.ts";

/** A retraining as GET /v1/retrain/ID has it. */
export interface Retraining {
  id: string;
  run: string;
  state: "running" | "finished" | "failed" | "cancelled";
  counts: { train: number; added: number; replaced: number; heldOut: number };
  epochs?: number;
  startedAt: string;
  finishedAt: string | null;
  failure?: string;
  progress: { step: number; epoch: number };
  steps: { step: number; loss: number; epoch: number }[];
  validations: { step: number; epoch: number; microF1: number; paperF1: number; isBest: boolean }[];
  comparison: Comparison | { failure: string } | null;
  isComparing: boolean;
}

/** Epochs as people write them: 2, 0.5, 1.25. */
export const epochText = (epoch: number) => String(Number(epoch.toFixed(2)));

/** A moving mean over the neighbours of each point: the trend of a loss that jumps from batch to batch. */
export function smoothed(points: readonly (readonly [number, number])[], reach: number): [number, number][] {
  return points.map(([x], i) => {
    const near = points.slice(Math.max(0, i - reach), i + reach + 1);
    return [x, near.reduce((sum, [, y]) => sum + y, 0) / near.length];
  });
}
