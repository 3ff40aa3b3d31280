import { showValue, UserErrors } from "../base/errors.ts";
import type { Backend } from "../compute/backend.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { rowsOfValues } from "../formats/row-chunks.ts";
import type { Decoder } from "./decoder.ts";
import { familyOf } from "./families/registry.ts";
import type { Family } from "./family.ts";
import { type PlaceOptions, placeDecoder } from "./place.ts";
import type { DecoderSpec } from "./spec.ts";
import { modelTensors } from "./tensors.ts";
import { checkTiedHead } from "./tied-head.ts";

/**
 * Loads a checkpoint's weights one by one, matrices in chunks of rows. Before it reads any weight it reports all missing and unused tensors
 * together, as a UserErrors; a tied output layer that is not the embedding is an error, too.
 */
export async function loadDecoder(backend: Backend, checkpoint: Checkpoint, options: PlaceOptions): Promise<Decoder> {
  const { source, config, directory } = checkpoint;
  const family = familyOf(config, directory);
  const read = family.readConfig(config, directory);
  // A model may have fewer rows than its tokenizer has ids: the caller that joins the two reports that.
  const spec = { ...read, tokenCount: Math.min(options.tokenCount ?? read.tokenCount, read.vocabularySize) };
  checkTensors(checkpoint, family, spec);
  await checkTiedHead(checkpoint);
  return placeDecoder(backend, spec, family, options, {
    vector: ({ name }) => source.read(name),
    matrix: async ({ name, shape }) => source.rows?.(name) ?? rowsOfValues(await source.read(name), shape[1]),
  });
}

function checkTensors(checkpoint: Checkpoint, family: Family, spec: DecoderSpec): void {
  const wanted = new Map(modelTensors(spec, family).map(({ name, shape }) => [name, shape]));
  const { tensors } = checkpoint.source;
  const problems: string[] = [];
  for (const [name, shape] of wanted) {
    const info = tensors.get(name);
    if (!info) problems.push(`tensor "${name}" is missing`);
    else if (info.shape.join() !== shape.join()) problems.push(`"${name}" is [${info.shape}], expected [${shape}]`);
  }
  for (const name of tensors.keys()) {
    const tiedCopy = spec.tiedHead && name === family.names.head;
    if (!wanted.has(name) && !tiedCopy && !family.ignored.some((pattern) => pattern.test(name))) {
      problems.push(`tensor ${showValue(name, 200)} is not part of a ${family.modelType} model`);
    }
  }
  if (problems.length === 0) return;
  throw new UserErrors(`${checkpoint.directory}: the tensors do not fit config.json:`, problems, {
    hint: "Is config.json from this checkpoint?",
  });
}
