import { type LabelSet, quoted, type TypePair } from "./example.ts";

/** In a type constraint: any type. */
export const ANY_TYPE = "*";

/** By label of the schema whether an answer may be it: 1 or 0. */
export type LabelMask = Uint8Array;

type Types = ReadonlyMap<string, readonly TypePair[]>;

/**
 * The declared type constraints with those that follow: an inverse has the constraint of its label with head and tail exchanged, and a
 * symmetric label holds in both directions. Adds a problem where a label and its inverse disagree, and for the label of no relation.
 */
export function completedTypes(
  declared: Types,
  inverses: ReadonlyMap<string, string>,
  noRelation: string | null,
  problems: string[],
): Types {
  const types = new Map(declared);
  if (noRelation !== null && declared.has(noRelation)) {
    problems.push(`types: ${quoted(noRelation)} is the label of no relation, expected no types for it`);
  }
  for (const [label, pairs] of declared) {
    const inverse = inverses.get(label);
    if (inverse === undefined) continue;
    const opposite = pairs.map(([head, tail]): TypePair => [tail, head]);
    const given = declared.get(inverse);
    if (inverse === label) types.set(label, distinct([...pairs, ...opposite]));
    else if (given === undefined) types.set(inverse, opposite);
    else if (keyOf(given) !== keyOf(opposite)) {
      problems.push(
        `types: ${quoted(label)} and its inverse ${quoted(inverse)} disagree, expected one with head and tail exchanged`,
      );
    }
  }
  return types;
}

function distinct(pairs: readonly TypePair[]): TypePair[] {
  return [...new Map(pairs.map((pair) => [JSON.stringify(pair), pair])).values()];
}

const keyOf = (pairs: readonly TypePair[]) => [...new Set(pairs.map((pair) => JSON.stringify(pair)))].sort().join();

/** The labels that a pair of types may have. */
export interface AllowedLabels {
  /** null: every label. */
  mask: LabelMask | null;
  /** Whether a label other than that of no relation is among them. */
  hasRelation: boolean;
}

/** Answers which labels may hold between two types; null is an unknown type, which no constraint excludes. Answers are kept. */
export function labelsByTypes(labels: LabelSet): (head: string | null, tail: string | null) => AllowedLabels {
  const known = new Map<string, AllowedLabels>();
  const { types } = labels;
  if (types === undefined) return () => ({ mask: null, hasRelation: true });
  return (head, tail) => {
    const key = JSON.stringify([head, tail]);
    let allowed = known.get(key);
    if (allowed === undefined) {
      allowed = allowedBetween(labels, types, head, tail);
      known.set(key, allowed);
    }
    return allowed;
  };
}

function allowedBetween(labels: LabelSet, types: Types, head: string | null, tail: string | null): AllowedLabels {
  const fits = (given: string | null, expected: string) =>
    given === null || expected === ANY_TYPE || given === expected;
  const mask = Uint8Array.from(labels.labels, (label) => {
    const pairs = types.get(label);
    return pairs === undefined || pairs.some(([first, second]) => fits(head, first) && fits(tail, second)) ? 1 : 0;
  });
  const hasRelation = labels.labels.some((label, i) => mask[i] === 1 && label !== labels.noRelation);
  return { mask: mask.includes(0) ? mask : null, hasRelation };
}

/** Probabilities of the allowed labels alone; they add up to 1. */
export function maskedProbabilities(probabilities: Float64Array, mask: LabelMask): Float64Array {
  const masked = probabilities.map((probability, i) => (mask[i] === 1 ? probability : 0));
  const total = masked.reduce((sum, probability) => sum + probability, 0);
  if (total > 0) return masked.map((probability) => probability / total);
  // None of them is possible to the last digit of a double: nothing tells them apart. NaN stays NaN.
  const count = mask.reduce((sum, allowed) => sum + allowed, 0);
  return total === 0 ? masked.map((_, i) => mask[i] / count) : masked;
}
