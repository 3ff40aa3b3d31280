import { showValue, UserError, UserErrors } from "../base/errors.ts";
import type { Folder } from "../base/folder.ts";
import { expectFolderSums } from "./folder-sums.ts";
import { readFolderJson } from "./json-object.ts";
import { readSafetensors } from "./safetensors-read.ts";
import { createTensorChecks } from "./tensor-checks.ts";
import type { TensorChecks, TensorInfo, TensorSource } from "./tensor-source.ts";

const MAX_SHARDS = 1_000;

/** A model folder: its configuration as read, and its tensors. */
export interface Checkpoint {
  directory: string;
  config: Readonly<Record<string, unknown>>;
  source: TensorSource;
}

/**
 * Reads a Hugging Face folder: config.json with weights in one of the formats, a single file or shards with an index. Weights are checked
 * against checksums.json, where the folder has one.
 */
export async function readModelFolder(
  folder: Folder,
  formats: readonly ShardFormat[] = [SAFETENSORS_SHARDS],
): Promise<Checkpoint> {
  const { directory } = folder;
  const config = await readFolderJson(folder, "config.json", "a model configuration");
  const source = await openShards(folder, formats);
  try {
    await expectFolderSums(folder, source);
    return { directory, config, source };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A format of weights: the names of a single file and of the index of shards. */
export interface ShardFormat {
  single: string;
  index: string;
  extension: string;
  open(folder: Folder, name: string, checks: TensorChecks): Promise<TensorSource>;
}

export const SAFETENSORS_SHARDS: ShardFormat = {
  single: "model.safetensors",
  index: "model.safetensors.index.json",
  extension: ".safetensors",
  open: async (folder, name, checks) =>
    readSafetensors(await folder.open(name, "a safetensors file"), folder.path(name), checks),
};

async function openShards(folder: Folder, formats: readonly ShardFormat[]): Promise<TensorSource> {
  for (const format of formats) {
    if (folder.has(format.single)) return format.open(folder, format.single, createTensorChecks());
    if (folder.has(format.index)) return openIndexed(folder, format);
  }
  const names = formats.flatMap(({ single, index }) => [single, index]);
  throw new UserError(`${folder.directory}: has no weights, expected one of ${names.join(", ")}.`, {
    hint: "Was the download finished?",
  });
}

async function openIndexed(folder: Folder, format: ShardFormat): Promise<TensorSource> {
  const { directory } = folder;
  const fileOf = await readIndex(folder, format);
  const shards = new Map<string, TensorSource>();
  const checks = createTensorChecks();
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const file of new Set(fileOf.values())) shards.set(file, await format.open(folder, file, checks));
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
async function readIndex(folder: Folder, { index, extension }: ShardFormat): Promise<Map<string, string>> {
  const indexFile = folder.path(index);
  const { weight_map: weightMap } = await readFolderJson(folder, index, "an index of shards");
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
  const absent = [...files].filter((file) => !folder.has(file));
  if (absent.length > 0) {
    throw new UserError(
      `${folder.directory}: ${absent.length} of ${files.size} shards are missing: ${absent.join(", ")}.`,
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
