import { UserError } from "../base/errors.ts";
import type { Checkpoint } from "../formats/model-folder.ts";
import { createChunkBuffers } from "../formats/row-chunks.ts";
import type { TensorSource } from "../formats/tensor-source.ts";
import { familyOf } from "./families/registry.ts";

/**
 * Throws a UserError when a checkpoint whose configuration ties the output layer to the embedding also holds another output layer: tools do
 * not agree on which of the two such a model means.
 */
export async function checkTiedHead({ config, directory, source }: Checkpoint): Promise<void> {
  const family = familyOf(config, directory);
  const { embedding, head } = family.names;
  const { tensors } = source;
  if (!tensors.has(head) || !tensors.has(embedding) || !family.readConfig(config, directory).tiedHead) return;
  if (await areEqual(source, embedding, head)) return;
  const file = tensors.get(head)?.file;
  throw new UserError(
    `${directory}: config.json sets tie_word_embeddings, but "${head}" in ${file} is not equal to "${embedding}".`,
    { hint: "Set tie_word_embeddings to false if the output layer is a layer of its own, or remove the tensor." },
  );
}

async function areEqual(source: TensorSource, a: string, b: string): Promise<boolean> {
  const [infoA, infoB] = [a, b].map((name) => source.tensors.get(name));
  if (infoA?.shape.join() !== infoB?.shape.join()) return false;
  const [rowsA, rowsB] = [a, b].map((name) => source.rows?.(name) ?? null);
  if (!rowsA || !rowsB || rowsA.dtype !== rowsB.dtype) {
    const [valuesA, valuesB] = [await source.read(a), await source.read(b)];
    return valuesA.every((value, i) => value === valuesB[i]);
  }
  const count = infoA?.shape[0] as number;
  const others = rowsB.chunks(0, count, createChunkBuffers());
  try {
    for await (const chunk of rowsA.chunks(0, count, createChunkBuffers())) {
      const other = await others.next();
      if (other.done || !hasBytes(chunk, other.value)) return false;
    }
    return true;
  } finally {
    await others.return(undefined);
  }
}

const hasBytes = (bytes: Uint8Array, others: Uint8Array) =>
  bytes.length === others.length && bytes.every((byte, i) => byte === others[i]);
