import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { showValue, UserError, UserErrors } from "../base/errors.ts";
import { writeFileAtomic } from "../base/files.ts";
import { expectFolderSums } from "./folder-sums.ts";
import { readJsonObject } from "./json-file.ts";
import { openPytorchBin } from "./pytorch-bin.ts";
import { openSafetensors, writeSafetensors } from "./safetensors.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import {
  DTYPE_BYTES,
  elementCount,
  type TensorChecks,
  type TensorInfo,
  type TensorSource,
  type TensorToWrite,
} from "./tensor-source.ts";

const MAX_SHARDS = 1_000;

/** A model folder: its configuration as read, and its tensors. */
export interface Checkpoint {
  directory: string;
  config: Readonly<Record<string, unknown>>;
  source: TensorSource;
}

/**
 * Opens a Hugging Face folder: config.json with safetensors or PyTorch files, a single file or shards with an index. Weights are checked
 * against checksums.json, where the folder has one.
 */
export async function openHuggingFaceFolder(directory: string): Promise<Checkpoint> {
  const config = await readJsonObject(join(directory, "config.json"), "a model configuration");
  const source = await openShards(directory);
  try {
    await expectFolderSums(directory, source);
    return { directory, config, source };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A format of weights: the names of a single file and of the index of shards. */
interface ShardFormat {
  single: string;
  index: string;
  extension: string;
  open(file: string, checks: TensorChecks): Promise<TensorSource>;
}

const SHARD_FORMATS: readonly ShardFormat[] = [
  {
    single: "model.safetensors",
    index: "model.safetensors.index.json",
    extension: ".safetensors",
    open: openSafetensors,
  },
  { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", extension: ".bin", open: openPytorchBin },
];

async function openShards(directory: string): Promise<TensorSource> {
  // Safetensors first: a folder with both formats holds the same weights twice, and safetensors is checked more strictly.
  for (const format of SHARD_FORMATS) {
    const single = join(directory, format.single);
    if (existsSync(single)) return format.open(single, createTensorChecks());
    if (existsSync(join(directory, format.index))) return openIndexed(directory, format);
  }
  const names = SHARD_FORMATS.flatMap(({ single, index }) => [single, index]);
  throw new UserError(`${directory}: has no weights, expected one of ${names.join(", ")}.`, {
    hint: "Was the download finished?",
  });
}

async function openIndexed(directory: string, format: ShardFormat): Promise<TensorSource> {
  const fileOf = await readIndex(join(directory, format.index), format.extension);
  const shards = new Map<string, TensorSource>();
  const checks = createTensorChecks();
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const file of new Set(fileOf.values())) shards.set(file, await format.open(join(directory, file), checks));
    return {
      tensors: mergeShards(directory, format.index, fileOf, shards),
      checks,
      async read(name) {
        const shard = shards.get(fileOf.get(name) ?? "");
        if (!shard) throw new UserError(`${directory}: tensor ${showValue(name)} is missing.`);
        return shard.read(name);
      },
      rows: (name) => shards.get(fileOf.get(name) ?? "")?.rows?.(name) ?? null,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The file of each tensor, as the index names it. */
async function readIndex(indexFile: string, extension: string): Promise<Map<string, string>> {
  const { weight_map: weightMap } = await readJsonObject(indexFile, "an index of shards");
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw new UserError(
      `${indexFile}: "weight_map" is ${showValue(weightMap)}, expected tensor names with file names.`,
    );
  }
  const fileOf = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    // A file next to the index only: an index must not reach into other folders.
    if (typeof file !== "string" || !/^[^/\\\0]+$/.test(file) || !file.endsWith(extension) || file === extension) {
      const expected = `a ${extension.slice(1)} file next to the index`;
      throw new UserError(`${indexFile}: ${showValue(name)} is in ${showValue(file)}, expected ${expected}.`);
    }
    fileOf.set(name, file);
  }
  const files = new Set(fileOf.values());
  if (files.size > MAX_SHARDS) throw new UserError(`${indexFile}: names ${files.size} shards, limit ${MAX_SHARDS}.`);
  const absent = [...files].filter((file) => !existsSync(join(dirname(indexFile), file)));
  if (absent.length > 0) {
    throw new UserError(
      `${dirname(indexFile)}: ${absent.length} of ${files.size} shards are missing: ${absent.join(", ")}.`,
      {
        hint: "Was the download finished?",
      },
    );
  }
  return fileOf;
}

/** All tensors of the shards, checked against the index; adds tensors that the index lacks to `fileOf`, so that nothing is dropped. */
function mergeShards(
  directory: string,
  index: string,
  fileOf: Map<string, string>,
  shards: ReadonlyMap<string, TensorSource>,
): Map<string, TensorInfo> {
  const problems: string[] = [];
  const tensors = new Map<string, TensorInfo>();
  for (const [name, file] of fileOf) {
    const info = shards.get(file)?.tensors.get(name);
    if (info) tensors.set(name, info);
    else problems.push(`tensor ${showValue(name)} is not in ${file}, where the index places it`);
  }
  for (const [file, shard] of shards) {
    for (const [name, info] of shard.tensors) {
      const place = fileOf.get(name);
      if (place === file) continue;
      if (place !== undefined)
        problems.push(`tensor ${showValue(name)} is in ${file} too, the index places it in ${place}`);
      fileOf.set(name, file);
      tensors.set(name, info);
    }
  }
  if (problems.length === 0) return tensors;
  throw new UserErrors(`${directory}: the shards do not fit ${index}:`, problems);
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
