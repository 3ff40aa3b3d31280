import { UserError, UserErrors } from "../base/errors.ts";
import { familyNamed } from "./families/registry.ts";
import type { Family } from "./family.ts";
import type { DecoderSpec, ModelSizes } from "./spec.ts";

/**
 * The specification of a model with these sizes for a tokenizer. Throws a UserErrors with every size that the family's config.json cannot
 * state, so that none of them is a surprise on loading.
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
  const rotatedWidth = headWidth * (sizes.rotatedShare ?? 1);
  const scaling = sizes.rotaryScaling ? { scaling: sizes.rotaryScaling } : {};
  const rotary = { kind: "rotary", base: rotaryBase, layout: family.rotaryLayout, rotatedWidth, ...scaling } as const;
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
    queryKeyValueBias: family.init.queryKeyValueBias,
    promptAttention: "causal",
    queryKeyNorm: false,
    tiedHead: sizes.tiedHead,
    normalizedHead: false,
    maxTokens: sizes.maxTokens,
    bosId,
    eosId,
  };
  const { spec, problems } = specOfFamily(family, wanted, where);
  if (problems.length > 0) throw new UserErrors(`${where}: the sizes do not fit the family:`, problems);
  return { ...spec, tokenCount };
}

/** The sizes of a model, from which {@link specFromSizes} makes its specification again; the vocabulary is the tokenizer's. */
export function sizesOf(spec: DecoderSpec): ModelSizes {
  const { family, width, layers, heads, keyValueHeads, headWidth, feedForward, maxTokens, tiedHead } = spec;
  const { normEpsilon, positions } = spec;
  return {
    family,
    width,
    layers,
    heads,
    keyValueHeads,
    ...(headWidth * heads === width ? {} : { headWidth }),
    feedForward,
    maxTokens,
    tiedHead,
    normEpsilon,
    rotaryBase: positions.kind === "rotary" ? positions.base : 10_000,
    ...(positions.kind === "alibi" ? { positions: "alibi" as const } : {}),
  };
}

/**
 * A specification as the family's config.json states it, which decides the traits that all models of the family share, and the problems
 * where config.json cannot state what is wanted. Throws a UserErrors where the sizes do not fit together.
 */
export function specOfFamily(
  family: Family,
  wanted: DecoderSpec,
  where: string,
): { spec: DecoderSpec; problems: string[] } {
  const spec = family.readConfig(family.writeConfig(wanted), where);
  const problems: string[] = [];
  const expectSame = (name: string, value: unknown, choice: unknown) => {
    if (value !== choice) problems.push(`${name} is ${choice}, but ${family.modelType} models have ${value} here`);
  };
  for (const name of ["keyValueHeads", "headWidth", "tiedHead"] as const) expectSame(name, spec[name], wanted[name]);
  expectSame("positions", spec.positions.kind, wanted.positions.kind);
  if (spec.positions.kind === "rotary" && wanted.positions.kind === "rotary") {
    expectSame("rotaryBase", spec.positions.base, wanted.positions.base);
  }
  return { spec, problems };
}
