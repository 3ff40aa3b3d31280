import type { EndpointQuestion } from "./question.ts";

/** How a server is asked for the relation of an example. */
export const WAY_NAMES = ["tree", "echo", "choice", "generate"] as const;
export type WayName = (typeof WAY_NAMES)[number];

/** A way of asking: label probabilities, or a text. */
export type Way = { name: WayName /** The way in a report's words. */; about: string } & (
  | {
      kind: "probabilities" /** In the label set's order; they add up to 1. */;
      ask(question: EndpointQuestion): Promise<Float64Array>;
    }
  | { kind: "text"; ask(question: EndpointQuestion): Promise<{ text: string; ended: boolean }> }
);

/** Probabilities of log scores, normalised. */
export function normalisedScores(scores: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(scores);
  const best = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const masses = values.map((value) => Math.exp(value - best));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}
