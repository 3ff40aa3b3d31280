import { UserError, UserErrors } from "../base/errors.ts";
import { familyNamed } from "./families/registry.ts";
import type { DecoderSpec } from "./spec.ts";

/** What is chosen for a model that is made from nothing; everything else follows from its family. */
export interface ModelSizes {
  family: string;
  width: number; // C
  layers: number;
  heads: number; // H
  keyValueHeads: number; // G
  /** D; the width shared by the heads unless told. */
  headWidth?: number;
  feedForward: number; // F
  maxTokens: number;
  tiedHead: boolean;
  normEpsilon: number;
  rotaryBase: number;
  positions?: "rotary" | "alibi";
  /** The vocabulary is filled up with rows that have no token to a multiple of this. */
  vocabularyMultiple?: number;
}

/**
 * The specification of a model with these sizes for a tokenizer. It goes through the family's own config.json, so whatever that cannot say is
 * an error here and not a surprise on loading: throws a UserErrors with all problems.
 */
export function specFromSizes(
  sizes: ModelSizes,
  tokenizer: { vocabularySize: number; bosId: number | null; eosId: number | null },
  where: string,
): DecoderSpec {
  const { family: modelType, width, heads, headWidth = width / heads, positions = "rotary", rotaryBase } = sizes;
  if (!Number.isInteger(headWidth)) {
    throw new UserError(`${where}: width ${width} cannot be shared evenly by ${heads} heads.`);
  }
  const { vocabularySize: tokenCount, bosId, eosId } = tokenizer;
  const { vocabularyMultiple: multiple = 1 } = sizes;
  const family = familyNamed(modelType, `${where}.family`);
  const rotary = { kind: "rotary", base: rotaryBase, layout: family.rotaryLayout, rotatedWidth: headWidth } as const;
  const wanted: DecoderSpec = {
    family: modelType,
    vocabularySize: Math.ceil(tokenCount / multiple) * multiple,
    tokenCount,
    width,
    layers: sizes.layers,
    heads,
    keyValueHeads: sizes.keyValueHeads,
    headWidth,
    feedForward: sizes.feedForward,
    normEpsilon: sizes.normEpsilon,
    positions: positions === "alibi" ? { kind: "alibi" } : rotary,
    // Said in ChatGLM2's configuration only; the others always have it or never.
    queryKeyValueBias: true,
    queryKeyNorm: false,
    tiedHead: sizes.tiedHead,
    normalizedHead: false,
    maxTokens: sizes.maxTokens,
    bosId,
    eosId,
  };
  const spec = { ...family.readConfig(family.writeConfig(wanted), where), tokenCount };
  const problems: string[] = [];
  const expectSame = (name: string, value: unknown, choice: unknown) => {
    if (value !== choice) problems.push(`${name} is ${choice}, but ${modelType} models have ${value} here`);
  };
  for (const name of ["keyValueHeads", "headWidth", "tiedHead"] as const) expectSame(name, spec[name], wanted[name]);
  expectSame("positions", spec.positions.kind, positions);
  if (spec.positions.kind === "rotary") expectSame("rotaryBase", spec.positions.base, rotaryBase);
  if (problems.length > 0) throw new UserErrors(`${where}: the sizes do not fit the family:`, problems);
  return spec;
}
