import { rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../base/files.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { type Checkpoint, readModelFolder, SAFETENSORS_SHARDS, type ShardFormat } from "./model-folder.ts";
import { openPytorchBin } from "./pytorch-bin.ts";
import { writeSafetensors } from "./safetensors.ts";
import { DTYPE_BYTES, elementCount, type TensorToWrite } from "./tensor-source.ts";

const PYTORCH_SHARDS: ShardFormat = {
  single: "pytorch_model.bin",
  index: "pytorch_model.bin.index.json",
  extension: ".bin",
  open: (folder, name, checks) => openPytorchBin(folder.path(name), checks),
};

/**
 * Opens a Hugging Face folder: config.json with safetensors or PyTorch files, a single file or shards with an index. Weights are checked
 * against checksums.json, where the folder has one.
 */
export async function openHuggingFaceFolder(directory: string): Promise<Checkpoint> {
  // Safetensors first: a folder with both formats holds the same weights twice, and safetensors is checked more strictly.
  return readModelFolder(nodeFolder(directory), [SAFETENSORS_SHARDS, PYTORCH_SHARDS]);
}

/**
 * Writes config.json and the tensors, as one file or as shards of at most `maxShardBytes` with an index. A folder with a config.json is
 * complete: the writer removes an old one first and writes the new one last.
 */
export async function saveHuggingFaceFolder(
  directory: string,
  config: Record<string, unknown>,
  tensors: readonly TensorToWrite[],
  options: { maxShardBytes?: number } = {},
): Promise<void> {
  const remove = (name: string) => rm(join(directory, name), { force: true });
  await remove("config.json");
  const maxShardBytes = options.maxShardBytes ?? 4_000_000_000;
  const shards: TensorToWrite[][] = [[]];
  let shardBytes = 0;
  let totalBytes = 0;
  for (const tensor of tensors) {
    const bytes = elementCount(tensor.shape) * DTYPE_BYTES[tensor.dtype];
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards[shards.length - 1].push(tensor);
    shardBytes += bytes;
    totalBytes += bytes;
  }
  if (shards.length === 1) {
    await writeSafetensors(join(directory, "model.safetensors"), shards[0]);
    await remove("model.safetensors.index.json");
  } else {
    const weightMap = new Map<string, string>();
    const number = (n: number) => String(n).padStart(5, "0");
    for (const [i, shard] of shards.entries()) {
      const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
      await writeSafetensors(join(directory, file), shard);
      for (const tensor of shard) weightMap.set(tensor.name, file);
    }
    const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(weightMap) };
    await writeFileAtomic(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
    await remove("model.safetensors");
  }
  await writeFileAtomic(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
}
