import { showValue } from "../base/errors.ts";
import type { Example } from "./example.ts";

/** What several annotators, or a model, said of a row: shares of labels that add up to 1. */
export type SoftLabels = Readonly<Record<string, number>>;

/** Shares are written with six digits; those of thousands of labels add up to 1 within this. */
const MAX_DIFFERENCE = 1e-2;
const DIGITS = 6;

/** The soft labels of a row (null for none), or what is wrong with them. */
export function readSoftLabels(value: unknown, known: ReadonlySet<string>): SoftLabels | null | string {
  if (value === undefined || value === null) return null;
  const expected = 'expected shares of labels that add up to 1, as {"A": 0.75, "B": 0.25}';
  if (typeof value !== "object" || Array.isArray(value)) return `got ${showValue(value)} as "softLabels", ${expected}`;
  const entries = Object.entries(value);
  const unknown = entries.find(([label]) => !known.has(label));
  if (unknown)
    return `got the label ${showValue(unknown[0])} in "softLabels", expected one of the ${known.size} labels`;
  const bad = entries.find(([, share]) => typeof share !== "number" || !(share >= 0 && share <= 1));
  if (bad) return `got ${showValue(bad[1])} for ${showValue(bad[0])} in "softLabels", ${expected}`;
  const sum = entries.reduce((total, [, share]) => total + (share as number), 0);
  if (Math.abs(sum - 1) > MAX_DIFFERENCE) return `got "softLabels" that add up to ${sum.toFixed(3)}, ${expected}`;
  return value as SoftLabels;
}

/** Soft labels as rows are written: without zeros, six digits, the largest share first. */
export function softLabelsOf(labels: readonly string[], shares: ArrayLike<number>): SoftLabels {
  const given = labels.map((label, i): [string, number] => [label, Number(shares[i].toFixed(DIGITS))]);
  return Object.fromEntries(given.filter(([, share]) => share > 0).sort(([, a], [, b]) => b - a));
}

/** By label of the label set its share: the soft labels of a row, or equal shares of its relations. */
export function sharesOf({ softLabels, relations = [] }: Example, labels: readonly string[]): Float64Array {
  const shares = softLabels ?? hardShares(relations);
  const sum = Object.values(shares).reduce((total, share) => total + share, 0);
  return Float64Array.from(labels, (label) => (Object.hasOwn(shares, label) ? shares[label] / sum : 0));
}

function hardShares(relations: readonly string[]): Record<string, number> {
  const shares: [string, number][] = relations.map((label) => [
    label,
    relations.filter((one) => one === label).length / relations.length,
  ]);
  return Object.fromEntries(shares);
}

/** The soft labels of rows with equal input that become one: their mean; undefined where no row has any. */
export function meanSoftLabels(rows: readonly Example[]): SoftLabels | undefined {
  if (!rows.some(({ softLabels }) => softLabels !== undefined)) return undefined;
  const labels = [
    ...new Set(rows.flatMap(({ softLabels, relations = [] }) => (softLabels ? Object.keys(softLabels) : relations))),
  ];
  const sums = new Float64Array(labels.length);
  for (const row of rows) for (const [i, share] of sharesOf(row, labels).entries()) sums[i] += share / rows.length;
  return softLabelsOf(labels, sums);
}
