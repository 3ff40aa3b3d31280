import { byteAutomaton } from "../../decode/constraint/byte-automaton.ts";
import { type TokenConstraint, tokenConstraint } from "../../decode/constraint/constraint.ts";
import type { Pattern } from "../../decode/constraint/pattern.ts";
import { readTokenBytes, type VocabularyBytes } from "../../decode/constraint/token-bytes.ts";
import type { ServeLimits } from "../limits.ts";
import type { ServedRun } from "../served-run.ts";
import { type ChoiceLane, createChoiceLane, createScoreLane, type ScoreLane } from "./choice-lane.ts";
import { createGenerationLane, type GenerationLane } from "./generation-lane.ts";

/** What completions of a run need; made at the first one. */
export interface CompletingRun {
  answers: GenerationLane;
  choices: ChoiceLane;
  scores: ScoreLane;
  /** The constraint of a pattern; `key` finds it again. */
  constraintOf(key: string, read: () => Pattern): Promise<TokenConstraint>;
}

/** Constraints that are kept; a client asks with one schema many times. */
const MAX_CONSTRAINTS = 16;

const completing = new WeakMap<ServedRun, CompletingRun>();

export function completingRun(served: ServedRun, limits: Pick<ServeLimits, "sequences">): CompletingRun {
  const known = completing.get(served);
  if (known) return known;
  const { name, run } = served;
  const { tokenizer, model } = run;
  let vocabulary: Promise<VocabularyBytes> | null = null;
  const constraints = new Map<string, TokenConstraint>();
  const made: CompletingRun = {
    answers: createGenerationLane(name, run, limits.sequences),
    choices: createChoiceLane(name, run),
    scores: createScoreLane(name, run),
    async constraintOf(key, read) {
      const before = constraints.get(key);
      if (before) return before;
      const automaton = byteAutomaton(read());
      vocabulary ??= readTokenBytes(tokenizer);
      const constraint = tokenConstraint(automaton, await vocabulary, model.spec.tokenCount);
      if (constraints.size >= MAX_CONSTRAINTS) constraints.delete(constraints.keys().next().value as string);
      constraints.set(key, constraint);
      return constraint;
    },
  };
  completing.set(served, made);
  return made;
}
