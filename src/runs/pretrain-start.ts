import { UserError } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { readSpec } from "../models/families/registry.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { openModelTokenizer } from "./tokenizer.ts";

/** The model before its first step: that of `model.start`, or a random one. */
export async function firstWeights(backend: Backend, recipe: PretrainRecipe, spec: DecoderSpec): Promise<Decoder> {
  const { start, storage } = recipe.model;
  if (start === undefined) return initDecoder(backend, spec, recipe.seed, { storage, trainable: true });
  const checkpoint = await openCheckpoint(start);
  try {
    return { ...(await loadDecoder(backend, checkpoint, { storage, trainable: true })), spec };
  } finally {
    await checkpoint.source.close();
  }
}

/**
 * Throws a UserError for a `model.start` of other sizes than `spec`, or with another vocabulary than `tokenizer`: its weights would mean
 * something else. Reads no weights.
 */
export async function expectStart(recipe: PretrainRecipe, spec: DecoderSpec, tokenizer: Tokenizer): Promise<void> {
  const { start } = recipe.model;
  if (start === undefined) return;
  const { config, directory, source } = await openCheckpoint(start);
  await source.close();
  await expectSameVocabulary(start, recipe, tokenizer);
  expectSizes(readSpec(config, directory), spec, start, "Leave model.init out: then it is that of model.start.");
}

async function expectSameVocabulary(start: string, recipe: PretrainRecipe, tokenizer: Tokenizer): Promise<void> {
  const own = await openModelTokenizer(start, { modelType: recipe.model.init.family });
  const ids = Array.from({ length: tokenizer.vocabularySize }, (_, id) => id);
  const other =
    own.vocabularySize === tokenizer.vocabularySize
      ? ids.find((id) => own.pieceOf(id) !== tokenizer.pieceOf(id))
      : Math.min(own.vocabularySize, tokenizer.vocabularySize);
  if (other === undefined) return;
  throw new UserError(`${start}: its tokenizer is not ${recipe.model.tokenizer}: they differ at id ${other}.`, {
    hint: "Leave model.tokenizer out: then it is that of model.start.",
  });
}

/** Throws a UserError for weights of other sizes than the recipe's. */
export function expectSizes(found: DecoderSpec, expected: DecoderSpec, where: string, hint: string): void {
  const sizes = (spec: DecoderSpec) => ({
    family: spec.family,
    width: spec.width,
    layers: spec.layers,
    heads: spec.heads,
    keyValueHeads: spec.keyValueHeads,
    headWidth: spec.headWidth,
    feedForward: spec.feedForward,
    vocabularySize: spec.vocabularySize,
    normEpsilon: spec.normEpsilon,
    tiedHead: spec.tiedHead,
    positions: JSON.stringify(spec.positions),
  });
  const [got, wanted] = [sizes(found), sizes(expected)];
  const other = (Object.keys(got) as (keyof typeof got)[]).find((key) => got[key] !== wanted[key]);
  if (!other) return;
  throw new UserError(`${where}: the weights have ${other} ${got[other]}, the recipe ${wanted[other]}.`, { hint });
}
