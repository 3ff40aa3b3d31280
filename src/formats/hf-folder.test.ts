import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { UserError, UserErrors } from "../base/errors.ts";
import { openHuggingFaceFolder, saveHuggingFaceFolder } from "./hf-folder.ts";
import { readJsonObject } from "./json-file.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { TensorToWrite } from "./tensor-source.ts";

const root = mkdtempSync(join(tmpdir(), "cre-hf-"));
afterAll(() => rmSync(root, { recursive: true }));

let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const INDEX = "model.safetensors.index.json";
const tensor = (name: string, ...values: number[]): TensorToWrite => ({
  name,
  dtype: "F32",
  shape: [values.length],
  values: async () => values,
});
const put = (name: string, content: unknown) =>
  writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
const config = { model_type: "llama" };

async function valuesOf(directory = folder): Promise<Record<string, number[]>> {
  const { source } = await openHuggingFaceFolder(directory);
  try {
    const values: [string, number[]][] = [];
    for (const name of source.tensors.keys()) values.push([name, Array.from(await source.read(name))]);
    return Object.fromEntries(values);
  } finally {
    await source.close();
  }
}

/** A folder with the tensors in the given shards and the given index. */
async function putShards(shards: Record<string, TensorToWrite[]>, weightMap: unknown): Promise<void> {
  put("config.json", config);
  for (const [file, tensors] of Object.entries(shards)) await writeSafetensors(join(folder, file), tensors);
  put(INDEX, { metadata: { total_size: 0 }, weight_map: weightMap });
}

describe("saveHuggingFaceFolder", () => {
  const tensors = [tensor("a", 1, 2, 3), tensor("b", 4), tensor("__proto__", 5, 6), tensor("d", 7)];
  const all = Object.fromEntries([
    ["a", [1, 2, 3]],
    ["b", [4]],
    ["__proto__", [5, 6]],
    ["d", [7]],
  ]);

  it("writes one file", async () => {
    await saveHuggingFaceFolder(folder, config, tensors);
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(await valuesOf()).toEqual(all);
    const opened = await openHuggingFaceFolder(folder);
    expect(opened).toMatchObject({ directory: folder, config });
    await expect(opened.source.read("c")).rejects.toThrow('tensor "c" is missing.');
    await opened.source.close();
  });

  it("writes shards of bounded size with an index", async () => {
    await saveHuggingFaceFolder(folder, config, tensors, { maxShardBytes: 12 });
    expect(readdirSync(folder).sort()).toEqual([
      "config.json",
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
      INDEX,
    ]);
    expect(JSON.parse(readFileSync(join(folder, INDEX), "utf8")).metadata).toEqual({ total_size: 28 });
    expect(await valuesOf()).toEqual(all);
    const { source } = await openHuggingFaceFolder(folder);
    await expect(source.read("c")).rejects.toThrow(`${folder}: tensor "c" is missing.`);
    await source.close();
  });

  it("replaces an older model of other sizes", async () => {
    await saveHuggingFaceFolder(folder, config, tensors);
    await saveHuggingFaceFolder(folder, config, [tensor("a", 9), tensor("b", 8)], { maxShardBytes: 4 });
    expect(await valuesOf()).toEqual({ a: [9], b: [8] });
    await saveHuggingFaceFolder(folder, config, [tensor("a", 7)]);
    expect(await valuesOf()).toEqual({ a: [7] });
  });

  it("leaves no config.json when it fails", async () => {
    await saveHuggingFaceFolder(folder, config, tensors);
    const broken = { ...tensor("a", 1), values: () => Promise.reject(new Error("gone")) };
    await expect(saveHuggingFaceFolder(folder, config, [broken])).rejects.toThrow("gone");
    expect(existsSync(join(folder, "config.json"))).toBe(false);
  });
});

describe("openHuggingFaceFolder", () => {
  it("reads tensors that only a shard knows, so that they can be reported", async () => {
    await putShards({ "m1.safetensors": [tensor("a", 1), tensor("extra", 2)] }, { a: "m1.safetensors" });
    expect(await valuesOf()).toEqual({ a: [1], extra: [2] });
  });

  it("reports tensors that are not where the index places them, all together", async () => {
    await putShards(
      { "m1.safetensors": [tensor("a", 1)], "m2.safetensors": [tensor("b", 2), tensor("a", 3)] },
      { a: "m1.safetensors", b: "m1.safetensors", c: "m2.safetensors" },
    );
    const error = await valuesOf().catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UserErrors);
    expect(error.message).toContain(`${folder}: the shards do not fit ${INDEX}:`);
    expect(error.problems).toEqual([
      'tensor "b" is not in m1.safetensors, where the index places it',
      'tensor "c" is not in m2.safetensors, where the index places it',
      'tensor "b" is in m2.safetensors too, the index places it in m1.safetensors',
      'tensor "a" is in m2.safetensors too, the index places it in m1.safetensors',
    ]);
  });

  it("names the missing shards", async () => {
    const weightMap = { a: "m1.safetensors", b: "m2.safetensors", c: "m3.safetensors" };
    await putShards({ "m2.safetensors": [tensor("b", 1)] }, weightMap);
    await expect(valuesOf()).rejects.toThrow(`${folder}: 2 of 3 shards are missing: m1.safetensors, m3.safetensors.`);
  });

  it.each([
    "../m1.safetensors",
    "/etc/passwd",
    "sub/m1.safetensors",
    "..",
    "",
    "a\\b.safetensors",
    "a\0.safetensors",
    3,
    null,
  ])("does not follow the index to %j", async (file) => {
    await writeSafetensors(join(root, "m1.safetensors"), [tensor("a", 1)]);
    await putShards({}, { a: file });
    await expect(valuesOf()).rejects.toThrow(
      /index\.json: "a" is in .*, expected a safetensors file next to the index\.$/,
    );
  });

  it("bounds the index", async () => {
    await putShards({}, Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`t${i}`, `m${i}.safetensors`])));
    await expect(valuesOf()).rejects.toThrow("names 1001 shards, limit 1000.");
    for (const weightMap of [undefined, null, ["m1.safetensors"], "m1.safetensors"]) {
      put(INDEX, { weight_map: weightMap });
      await expect(valuesOf()).rejects.toThrow(/"weight_map" is .*, expected tensor names with file names\.$/);
    }
  });

  it("says what is missing or is not JSON", async () => {
    await expect(valuesOf()).rejects.toThrow(
      /config\.json: cannot be read \(ENOENT.*\), expected a model configuration\.$/,
    );
    put("config.json", "{");
    await expect(valuesOf()).rejects.toThrow(/config\.json: is not JSON \(.*\), expected a model configuration\.$/);
    put("config.json", '{"model_type": "llama", "rope_scaling": {"factor": 2, "factor": 4}}');
    await expect(valuesOf()).rejects.toThrow(
      /config\.json: has the key "factor" twice in one object, expected it once\.$/,
    );
    put("config.json", "[]");
    await expect(valuesOf()).rejects.toThrow(/config\.json: is \[\], expected a model configuration\.$/);
    put("config.json", config);
    await expect(valuesOf()).rejects.toThrow(
      `${folder}: has no weights, expected one of model.safetensors, ${INDEX}, `,
    );
    await expect(valuesOf()).rejects.toThrow(UserError);
    writeFileSync(join(folder, "config.json"), Buffer.from([0xff, 0xfe]));
    await expect(valuesOf()).rejects.toThrow(/config\.json, line 1: is not valid UTF-8\.$/);
  });

  it("keeps a prototype in a file from changing objects", async () => {
    put("config.json", '{"__proto__": {"model_type": "llama"}}');
    const read = await readJsonObject(join(folder, "config.json"), "a model configuration");
    expect(read.model_type).toBeUndefined();
  });
});
