import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserErrors } from "../base/errors.ts";
import { readPeftPrefix, savePeftPrefix } from "./peft-prefix.ts";
import { writeSafetensors } from "./safetensors.ts";

const root = mkdtempSync(join(tmpdir(), "cre-peft-prefix-"));
afterAll(() => rmSync(root, { recursive: true }));
let count = 0;

const CONFIG = { tokens: 3, layers: 2, keyValueHeads: 1, width: 4, baseModel: "models/base" };
const VALUES = Float32Array.from({ length: 3 * 2 * 2 * 4 }, (_, i) => i / 8);

/** A folder of ours whose configuration has other entries. */
async function folderWith(changes: object): Promise<string> {
  const folder = join(root, String(count++));
  await savePeftPrefix(folder, CONFIG, async () => VALUES);
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...changes }));
  return folder;
}

async function problemsOf(changes: object): Promise<readonly string[]> {
  const error = await readPeftPrefix(await folderWith(changes)).catch((thrown) => thrown);
  if (error instanceof UserErrors) return error.problems;
  if (error instanceof Error) throw error;
  return [];
}

describe("a prefix in PEFT's form", () => {
  it("comes back as it was written", async () => {
    expect(await readPeftPrefix(await folderWith({}))).toEqual({ config: CONFIG, values: VALUES });
  });

  it("is read whatever does not change what it computes", async () => {
    const free = { prefix_projection: true, encoder_hidden_size: 7, init_weights: "zero", revision: "main" };
    expect(await problemsOf({ ...free, a_later_option: null, another: false })).toEqual([]);
    expect(await problemsOf({ num_transformer_submodules: null, base_model_name_or_path: null })).toEqual([]);
  });

  it("is refused with all problems of its configuration", async () => {
    expect(
      await problemsOf({
        peft_type: "LORA",
        num_virtual_tokens: 0,
        num_layers: 1.5,
        token_dim: 1e9,
        num_transformer_submodules: 2,
        modules_to_save: ["lm_head"],
      }),
    ).toEqual([
      '"peft_type" is "LORA", expected "PREFIX_TUNING"',
      '"num_transformer_submodules" is 2, expected 1 (a decoder)',
      '"num_virtual_tokens" is 0, expected a whole number from 1 to 1048576',
      '"num_layers" is 1.5, expected a whole number from 1 to 1048576',
      '"token_dim" is 1000000000, expected a whole number from 1 to 1048576',
      '"modules_to_save" is ["lm_head"], which is not supported: expected false, null or nothing',
    ]);
  });

  it("is refused when its values have other sizes, or other tensors are there", async () => {
    expect(await problemsOf({ num_virtual_tokens: 4 })).toEqual([
      'has "prompt_embeddings" [3,16], expected "prompt_embeddings" [4,16] as adapter_config.json says',
    ]);
    const folder = await folderWith({});
    const extra = { name: "lm_head.weight", dtype: "F32", shape: [1], values: async () => [1] } as const;
    const own = { name: "prompt_embeddings", dtype: "F32", shape: [3, 16], values: async () => VALUES } as const;
    await writeSafetensors(join(folder, "adapter_model.safetensors"), [own, extra]);
    await expect(readPeftPrefix(folder)).rejects.toThrow("lm_head.weight");
    rmSync(join(folder, "adapter_model.safetensors"));
    await expect(readPeftPrefix(folder)).rejects.toThrow(
      `${folder}: has no adapter_model.safetensors and no adapter_model.bin.`,
    );
  });
});
