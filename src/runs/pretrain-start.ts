import { UserError } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { initDecoder } from "../models/init.ts";
import { loadDecoder } from "../models/load.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { PretrainRecipe } from "../pretrain/recipe.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { openModelTokenizer } from "./tokenizer.ts";

/** The model before its first step: that of `model.start`, or a random one. Throws a UserError for a start of other sizes. */
export async function firstWeights(backend: Backend, recipe: PretrainRecipe, spec: DecoderSpec): Promise<Decoder> {
  const { start, storage } = recipe.model;
  if (start === undefined) return initDecoder(backend, spec, recipe.seed, { storage, trainable: true });
  const checkpoint = await openCheckpoint(start);
  try {
    const model = await loadDecoder(backend, checkpoint, { storage, trainable: true });
    expectSizes(model.spec, spec, start, "model.init has to have the sizes of model.start.");
    return model;
  } finally {
    await checkpoint.source.close();
  }
}

/** Throws a UserError for a `model.start` with another vocabulary: its weights would mean something else. */
export async function expectSameVocabulary(start: string, recipe: PretrainRecipe, tokenizer: Tokenizer): Promise<void> {
  const own = await openModelTokenizer(start, { modelType: recipe.model.init.family });
  const ids = Array.from({ length: tokenizer.vocabularySize }, (_, id) => id);
  const other =
    own.vocabularySize === tokenizer.vocabularySize
      ? ids.find((id) => own.pieceOf(id) !== tokenizer.pieceOf(id))
      : Math.min(own.vocabularySize, tokenizer.vocabularySize);
  if (other === undefined) return;
  throw new UserError(`${start}: its tokenizer is not ${recipe.model.tokenizer}: they differ at id ${other}.`, {
    hint: "Give model.tokenizer the folder of model.start.",
  });
}

/** Throws a UserError for weights of other sizes than the recipe's. */
export function expectSizes(found: DecoderSpec, expected: DecoderSpec, where: string, hint: string): void {
  const keys = ["width", "layers", "heads", "keyValueHeads", "feedForward", "vocabularySize", "normEpsilon"] as const;
  const other = keys.find((key) => found[key] !== expected[key]);
  if (!other) return;
  throw new UserError(`${where}: the weights have ${other} ${found[other]}, the recipe ${expected[other]}.`, { hint });
}
