import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { UserErrors } from "../base/errors.ts";
import { openPeftFolder, savePeftFolder } from "./peft-folder.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { TensorToWrite } from "./tensor-source.ts";

const GOLDEN = new URL("../../test/golden/llama-peft/adapter", import.meta.url).pathname;
const root = mkdtempSync(join(tmpdir(), "cre-peft-"));
afterAll(() => rmSync(root, { recursive: true }));

let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const tensors: TensorToWrite[] = [{ name: "a", dtype: "F32", shape: [1], values: async () => [1] }];
const fromPeft = JSON.parse(readFileSync(join(GOLDEN, "adapter_config.json"), "utf8")) as Record<string, unknown>;

/** The problems of the adapter that PEFT wrote, with some entries changed. */
async function problemsOf(changes: Record<string, unknown>): Promise<readonly string[]> {
  await writeSafetensors(join(folder, "adapter_model.safetensors"), tensors);
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...fromPeft, ...changes }));
  try {
    await (await openPeftFolder(folder)).tensors.close();
  } catch (error) {
    if (!(error instanceof UserErrors)) throw error;
    const title = `${join(folder, "adapter_config.json")}: the adapter cannot be used:`;
    const { problems, message } = error;
    if (problems.length > 1) expect(message.startsWith(`${title}\n`)).toBe(true);
    else expect(message).toBe(`${title} ${problems[0]}.`);
    return problems;
  }
  return [];
}

describe("openPeftFolder", () => {
  it("reads what PEFT 0.21 wrote", async () => {
    const { config, tensors } = await openPeftFolder(GOLDEN);
    expect(config).toMatchObject({ rank: 3, alpha: 12, dropout: 0, baseModel: null });
    expect([...config.targetModules].sort()).toEqual(["q_proj", "v_proj"]);
    expect([...tensors.tensors.values()].map(({ name, shape }) => `${name} [${shape}]`).sort()).toEqual(
      [0, 1].flatMap((layer) => {
        const module = `base_model.model.model.layers.${layer}.self_attn`;
        return [
          `${module}.q_proj.lora_A.weight [3,16]`,
          `${module}.q_proj.lora_B.weight [16,3]`,
          `${module}.v_proj.lora_A.weight [3,16]`,
          `${module}.v_proj.lora_B.weight [8,3]`,
        ];
      }),
    );
    await tensors.close();
  });

  it("takes entries that say nothing about the mathematics", async () => {
    const neutral = { bias: "none", modules_to_save: [], lora_bias: false, layers_to_transform: [], peft_version: "9" };
    expect(await problemsOf(neutral)).toEqual([]);
    for (const begin of [true, false, "gaussian", "orthogonal"]) {
      expect(await problemsOf({ init_lora_weights: begin })).toEqual([]);
    }
    expect(await problemsOf({ init_lora_weights: "eva", eva_config: { rho: 2 } })).toEqual([]);
    expect(await problemsOf({ a_later_option: null, another: false, third: {} })).toEqual([]);
  });

  it.each([
    { layer_replication: [[0, 1]] },
    { target_parameters: ["w"] },
    { use_qalora: true },
    { alora_invocation_tokens: [1] },
    { init_lora_weights: "pissa" },
    { init_lora_weights: "olora" },
    { ensure_weight_tying: true },
    { a_later_option: 1 },
  ])("refuses %j, which it does not compute", async (change) => {
    const [[key, value]] = Object.entries(change);
    const problems = await problemsOf(change);
    expect(problems).toHaveLength(1);
    expect(problems[0].startsWith(`"${key}" is ${JSON.stringify(value)}, which is not supported: `)).toBe(true);
  });

  it("reads what only adapters made elsewhere have", async () => {
    const changes = {
      rank_pattern: { q_proj: 5 },
      alpha_pattern: { "layers.0.*": 2.5 },
      exclude_modules: ["k_proj"],
      layers_to_transform: 1,
      layers_pattern: "layers",
      modules_to_save: ["lm_head"],
      bias: "lora_only",
      lora_bias: true,
      trainable_token_indices: [3],
      fan_in_fan_out: true,
    };
    expect(await problemsOf(changes)).toEqual([]);
    const { config, tensors } = await openPeftFolder(folder);
    await tensors.close();
    expect(config).toMatchObject({
      rankPattern: { q_proj: 5 },
      alphaPattern: { "layers.0.*": 2.5 },
      excludeModules: ["k_proj"],
      layers: [1],
      layersPattern: ["layers"],
      savedModules: ["lm_head"],
      hasLoraBias: true,
      tokenIds: [3],
    });
  });

  it.each([
    [{ rank_pattern: { q_proj: 0 } }, '"rank_pattern" is {"q_proj":0}, expected ranks by name'],
    [{ alpha_pattern: [1] }, '"alpha_pattern" is [1], expected numbers by name'],
    [{ exclude_modules: [1] }, '"exclude_modules" is [1], expected a list of module names or a regular expression'],
    [{ layers_to_transform: [-1] }, '"layers_to_transform" is [-1], expected numbers of layers'],
    [{ modules_to_save: [""] }, '"modules_to_save" is [""], expected module names'],
    [{ bias: "some" }, '"bias" is "some", expected "none", "all" or "lora_only"'],
    [
      { trainable_token_indices: ["a"] },
      '"trainable_token_indices" is ["a"], expected token ids, or token ids by module',
    ],
    [{ task_type: "SEQ_CLS" }, '"task_type" is "SEQ_CLS", expected "CAUSAL_LM" or null'],
    [
      { target_modules: ".*q", layers_to_transform: [1] },
      '"layers_to_transform" goes with a list as "target_modules" only, as in PEFT',
    ],
  ])("refuses %j", async (change, problem) => {
    expect(await problemsOf(change)).toEqual([problem]);
  });

  it("reports all problems together, a single one on one line", async () => {
    const changes = { r: 0, lora_alpha: "8", lora_dropout: 1, target_modules: [], use_dora: 1 };
    expect(await problemsOf(changes)).toEqual([
      '"r" is 0, expected a whole number from 1 to 65536',
      '"lora_alpha" is "8", expected a number',
      '"lora_dropout" is 1, expected a number from 0 to below 1',
      '"use_dora" is 1, expected true or false',
      '"target_modules" is [], expected a list of module names, a regular expression or "all-linear"',
    ]);
    expect(await problemsOf({ r: 1e9 })).toHaveLength(1);
    expect(await problemsOf({ r: undefined })).toEqual(['"r" is missing, expected a whole number from 1 to 65536']);
    expect(await problemsOf({ target_modules: ".*_proj" })).toEqual([]);
    expect(await problemsOf({ target_modules: ["q_proj", 3] })).toHaveLength(1);
    expect(await problemsOf({ target_modules: "all-linear" })).toEqual([]);
    writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...fromPeft, use_qalora: true, r: 0 }));
    await expect(openPeftFolder(folder)).rejects.toThrow(
      `${join(folder, "adapter_config.json")}: the adapter cannot be used: "use_qalora" is true, which is not supported: it pools the input of the adapter.`,
    );
  });

  it("names a kind of adapter that it does not read, and adapters in subfolders", async () => {
    const file = join(folder, "adapter_config.json");
    writeFileSync(file, JSON.stringify({ peft_type: "LOHA", r: 0 }));
    await expect(openPeftFolder(folder)).rejects.toMatchObject({
      message: `${file}: "peft_type" is "LOHA", which is not supported: expected "LORA" or "PREFIX_TUNING".`,
      hint: expect.stringContaining("merge_and_unload"),
    });
    const outside = join(folder, "outside");
    for (const name of ["b", "a"]) {
      mkdirSync(join(outside, name), { recursive: true });
      writeFileSync(join(outside, name, "adapter_config.json"), JSON.stringify(fromPeft));
    }
    await expect(openPeftFolder(outside)).rejects.toMatchObject({
      message: `${outside}: has no adapter_config.json, but 2 of its folders have one (a, b).`,
      hint: `Give the adapter to use: ${join(outside, "a")}`,
    });
    await expect(openPeftFolder(file)).rejects.toThrow(`${file}: is a file, expected the folder of an adapter`);
  });

  it("says which file is missing", async () => {
    await expect(openPeftFolder(folder)).rejects.toThrow(/adapter_config\.json: cannot be read \(ENOENT/);
    writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(fromPeft));
    await expect(openPeftFolder(folder)).rejects.toMatchObject({
      message: `${folder}: has no adapter_model.safetensors and no adapter_model.bin.`,
      hint: expect.stringContaining("save_pretrained"),
    });
  });
});

describe("savePeftFolder", () => {
  const config = {
    rank: 2,
    alpha: 8,
    dropout: 0.1,
    scaling: "lora" as const,
    hasMagnitudes: false,
    targetModules: ["v_proj", "q_proj"],
    baseModel: "models/base",
  };

  it("writes what it reads", async () => {
    await savePeftFolder(folder, config, tensors);
    const opened = await openPeftFolder(folder);
    expect(opened.config).toMatchObject({ ...config, targetModules: ["q_proj", "v_proj"] });
    expect(Array.from(await opened.tensors.read("a"))).toEqual([1]);
    await opened.tensors.close();
    const everyTarget = { ...config, targetModules: "all-linear" as const };
    await savePeftFolder(folder, everyTarget, tensors);
    const again = await openPeftFolder(folder);
    expect(again.config).toMatchObject(everyTarget);
    await again.tensors.close();
  });

  it("writes only entries that PEFT knows, with PEFT's values", async () => {
    await savePeftFolder(folder, config, tensors);
    const written = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    for (const key of Object.keys(written)) expect(Object.keys(fromPeft)).toContain(key);
    expect(written).toMatchObject({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      r: 2,
      lora_alpha: 8,
      lora_dropout: 0.1,
    });
  });

  it("keeps the old adapter whole when saving fails", async () => {
    const broken = [{ ...tensors[0], values: () => Promise.reject(new Error("gone")) }];
    await savePeftFolder(folder, config, tensors);
    await expect(savePeftFolder(folder, config, broken)).rejects.toThrow("gone");
    expect(existsSync(join(folder, "adapter_config.json"))).toBe(true);
    const opened = await openPeftFolder(folder);
    expect(Array.from(await opened.tensors.read("a"))).toEqual([1]);
    await opened.tensors.close();
  });
});
