import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { readTextFile, writeFileAtomic } from "../base/files.ts";
import { openSafetensors, type SafetensorsFile, writeSafetensors } from "./safetensors.ts";
import { DTYPE_BYTES, elementCount, type TensorInfo, type TensorSource, type TensorToWrite } from "./tensor-source.ts";

const MAX_JSON_BYTES = 50_000_000;
const MAX_SHARDS = 1_000;

/** A model folder: its configuration as read, and its tensors. */
export interface Checkpoint {
  directory: string;
  config: Readonly<Record<string, unknown>>;
  source: TensorSource;
}

/** Reads a bounded JSON file that must hold an object. */
export async function readJsonObject(file: string, what: string): Promise<Record<string, unknown>> {
  const text = await readTextFile(file, what, MAX_JSON_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: is not JSON (${messageOf(error)}), expected ${what}.`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${file}: is not a JSON object, expected ${what}.`);
  }
  return value as Record<string, unknown>;
}

/** Opens a Hugging Face folder: config.json with model.safetensors or shards named by model.safetensors.index.json. */
export async function openHuggingFaceFolder(directory: string): Promise<Checkpoint> {
  const config = await readJsonObject(join(directory, "config.json"), "a model configuration");
  return { directory, config, source: await openShards(directory) };
}

async function openShards(directory: string): Promise<TensorSource> {
  const single = join(directory, "model.safetensors");
  if (existsSync(single)) return openSafetensors(single);
  const indexFile = join(directory, "model.safetensors.index.json");
  if (!existsSync(indexFile)) {
    throw new UserError(`${directory}: has no model.safetensors and no model.safetensors.index.json.`, {
      hint: "PyTorch .bin files are not read yet; convert the folder to safetensors.",
    });
  }
  const index = await readJsonObject(indexFile, "a safetensors index");
  const weightMap = index.weight_map;
  if (typeof weightMap !== "object" || weightMap === null) throw new UserError(`${indexFile}: has no "weight_map".`);
  const fileOf = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== "string" || basename(file) !== file) {
      throw new UserError(`${indexFile}: "${name}" points to ${JSON.stringify(file)}, expected a file name beside it.`);
    }
    fileOf.set(name, file);
  }
  const shards = new Map<string, SafetensorsFile>();
  const files = new Set(fileOf.values());
  if (files.size > MAX_SHARDS) throw new UserError(`${indexFile}: names ${files.size} shards, limit ${MAX_SHARDS}.`);
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    const tensors = new Map<string, TensorInfo>();
    for (const file of files) shards.set(file, await openSafetensors(join(directory, file)));
    for (const [name, file] of fileOf) {
      const info = shards.get(file)?.tensors.get(name);
      if (!info) throw new UserError(`${join(directory, file)}: tensor "${name}" is missing, but the index names it.`);
      tensors.set(name, info);
    }
    return {
      tensors,
      read: (name) => {
        const shard = shards.get(fileOf.get(name) ?? "");
        if (!shard) throw new UserError(`${directory}: tensor "${name}" is missing.`);
        return shard.read(name);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Writes config.json and the tensors, as one file or as shards of at most `maxShardBytes` with an index. */
export async function saveHuggingFaceFolder(
  directory: string,
  config: Record<string, unknown>,
  tensors: readonly TensorToWrite[],
  options: { maxShardBytes?: number } = {},
): Promise<void> {
  await mkdir(directory, { recursive: true });
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
  } else {
    const weightMap: Record<string, string> = {};
    const number = (n: number) => String(n).padStart(5, "0");
    for (const [i, shard] of shards.entries()) {
      const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
      await writeSafetensors(join(directory, file), shard);
      for (const tensor of shard) weightMap[tensor.name] = file;
    }
    const index = { metadata: { total_size: totalBytes }, weight_map: weightMap };
    await writeFileAtomic(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
  }
  // Last, so that a folder with a config.json is a whole one.
  await writeFileAtomic(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
}
