import { UserErrors } from "../base/errors.ts";

/** Where a head has the two elements of a rotary pair: next to each other, or one in each half. */
export type RotaryLayout = "interleaved" | "halves";

/** Rotary positions: the angle of pair i at position p is p · base^(−2i / rotatedWidth), before scaling. */
export interface RotaryPositions {
  kind: "rotary";
  base: number;
  layout: RotaryLayout;
  /** How many of a head's elements are rotated; the others pass unchanged. */
  rotatedWidth: number;
  /** How the angles were changed for longer texts than the model was first trained on; absent: not at all. */
  scaling?: RotaryScaling;
}

/**
 * Rules that make angles smaller. linear: all of them by `factor` (Chen et al. 2023). llama3: only pairs that turn fewer than `highTurns` times
 * in `originalTokens`, those below `lowTurns` by the whole factor (Llama 3.1). yarn: by a ramp between the pairs that turn `fastTurns` and
 * `slowTurns` times, and queries and keys count `magnitude` times (Peng et al. 2023).
 */
export type RotaryScaling =
  | { kind: "linear"; factor: number }
  | { kind: "llama3"; factor: number; originalTokens: number; lowTurns: number; highTurns: number }
  | {
      kind: "yarn";
      factor: number;
      originalTokens: number;
      fastTurns: number;
      slowTurns: number;
      magnitude: number;
      /** Whether the ends of the ramp are whole numbers of pairs. */
      isWhole: boolean;
    };

/** ALiBi: attention scores fall with the distance, with a slope that depends on the head's number (Press et al. 2022). */
export interface AlibiPositions {
  kind: "alibi";
}

/**
 * What a token of a prompt sees of its prompt: the tokens up to itself, or all of them, as in a prefix LM (Raffel et al. 2020). A token of
 * an answer sees the prompt and the answer up to itself either way.
 */
export const PROMPT_ATTENTIONS = ["causal", "both"] as const;
export type PromptAttention = (typeof PROMPT_ATTENTIONS)[number];

/** Everything the decoder needs to know about a model; each family translates its config.json into this. */
export interface DecoderSpec {
  family: string;
  vocabularySize: number; // V
  /** Ids from here on have no token and are never generated: their rows pad embedding and head to a round size. */
  tokenCount: number;
  width: number; // C
  layers: number;
  heads: number; // H
  keyValueHeads: number; // G
  headWidth: number; // D
  feedForward: number; // F
  normEpsilon: number;
  positions: RotaryPositions | AlibiPositions;
  promptAttention: PromptAttention;
  /** The products of queries, keys and values add a bias. */
  queryKeyValueBias: boolean;
  /** Queries and keys are normalised, head by head, before rotary embedding. */
  queryKeyNorm: boolean;
  /** The output layer is the embedding itself. */
  tiedHead: boolean;
  /** Each row of the output layer is divided by its length before use. */
  normalizedHead: boolean;
  /** The longest sequence that the model was made for. */
  maxTokens: number;
  bosId: number | null;
  eosId: number | null;
}

/** The choices for a model with random weights; the rest of its specification follows from its family. */
export interface ModelSizes {
  family: string;
  width: number; // C
  layers: number;
  heads: number; // H
  keyValueHeads: number; // G
  /** D; by default the width divided by the number of heads. */
  headWidth?: number;
  feedForward: number; // F
  maxTokens: number;
  tiedHead: boolean;
  normEpsilon: number;
  rotaryBase: number;
  /** The share of a head that is rotated; by default all of it. */
  rotatedShare?: number;
  rotaryScaling?: RotaryScaling;
  positions?: "rotary" | "alibi";
  /** Rows without a token pad the vocabulary to a multiple of this. */
  vocabularyMultiple?: number;
}

/** The largest sizes of a model: what index arithmetic and the native kernels are made for. */
export const LARGEST = {
  vocabularySize: 1 << 21,
  width: 1 << 16,
  layers: 1024,
  heads: 1024,
  keyValueHeads: 1024,
  headWidth: 1024,
  feedForward: 1 << 18,
  maxTokens: 1 << 24,
} as const satisfies Partial<Record<keyof DecoderSpec, number>>;

/** Checks that the sizes of a specification fit together; throws a UserErrors with all problems. */
export function checkSpec(spec: DecoderSpec, where: string): DecoderSpec {
  const problems: string[] = [];
  for (const [name, limit] of Object.entries(LARGEST)) {
    const size = spec[name as keyof typeof LARGEST];
    if (!Number.isInteger(size) || size < 1 || size > limit) {
      problems.push(`${name} is ${size}, expected a whole number from 1 to ${limit}`);
    }
  }
  if (spec.heads % spec.keyValueHeads !== 0) {
    problems.push(`${spec.heads} heads cannot share ${spec.keyValueHeads} key/value heads evenly`);
  }
  const { tokenCount, vocabularySize } = spec;
  if (!Number.isInteger(tokenCount) || tokenCount < 1 || tokenCount > vocabularySize) {
    problems.push(`the number of tokens is ${tokenCount}, expected a whole number from 1 to ${vocabularySize}`);
  }
  if (spec.positions.kind === "rotary") checkRotary(spec.positions, spec.headWidth, problems);
  if (spec.tiedHead && spec.normalizedHead) problems.push("a head with normalised rows cannot be the embedding");
  if (!(spec.normEpsilon > 0 && spec.normEpsilon < 1)) problems.push(`the norm epsilon is ${spec.normEpsilon}`);
  if (problems.length > 0) throw new UserErrors(`${where}: the model's sizes do not fit together:`, problems);
  return spec;
}

function checkRotary(positions: RotaryPositions, headWidth: number, problems: string[]): void {
  const { rotatedWidth, base, scaling } = positions;
  if (rotatedWidth % 2 !== 0 || rotatedWidth > headWidth || rotatedWidth < 2) {
    problems.push(`the rotated width is ${rotatedWidth}, expected an even number up to the head width ${headWidth}`);
  }
  if (!(base > 0) || !Number.isFinite(base)) problems.push(`the rotary base is ${base}, expected a positive number`);
  if (scaling) problems.push(...scalingProblems(scaling, rotatedWidth < headWidth));
}

/** What does not fit in a scaling; `isPartial`: whether some elements of a head are not rotated. */
function scalingProblems(scaling: RotaryScaling, isPartial: boolean): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries(scaling)) {
    if (typeof value === "number" && !(value > 0 && Number.isFinite(value))) {
      problems.push(`the rotary scaling's ${name} is ${value}, expected a positive number`);
    }
  }
  if (scaling.kind === "llama3" && scaling.lowTurns >= scaling.highTurns) {
    problems.push(`the rotary scaling begins at ${scaling.highTurns} turns and ends at ${scaling.lowTurns}`);
  }
  if (scaling.kind === "yarn" && isPartial)
    problems.push("yarn scales whole heads only here, some elements are not rotated");
  return problems;
}
