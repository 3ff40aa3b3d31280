import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { worstOf } from "../../test/golden/backends.ts";
import { tinyFamily } from "../../test/tiny-families.ts";
import { sequenceLogits } from "../../test/tiny-model.ts";
import { createRandom } from "../base/random.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { saveHuggingFaceFolder } from "../formats/hf-folder.ts";
import { mergeLowRank, tensorsToWrite } from "../formats/merge-lora.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { familyNamed, readSpec } from "../models/families/registry.ts";
import { loadDecoder } from "../models/load.ts";
import { nativeSpec, nativeTensors } from "../models/native-form.ts";
import { saveDecoder } from "../models/save.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { linearModules } from "../models/tensors.ts";
import { openGivenAdapter } from "./given.ts";

// Adapters of the modules of another form of the base, on the base: the logits are those of the form that they were made for.

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden");
const root = mkdtempSync(join(tmpdir(), "cre-joined-"));
afterAll(() => rmSync(root, { recursive: true }));
const IDS = [5, 9, 17, 3, 30, 12];

let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

interface Module {
  name: string;
  rows: number;
  columns: number;
  rank: number;
}

/** Writes a PEFT folder with random weights for modules. */
async function writeAdapter(name: string, modules: readonly Module[], changes: object = {}): Promise<string> {
  const directory = mkdtempSync(join(root, `${name}-`));
  const random = createRandom(3);
  const { use_dora = false } = changes as { use_dora?: boolean };
  const tensors = modules.flatMap(({ name, rows, columns, rank }) => {
    const put = (end: string, shape: number[], least = 0) => {
      const count = shape.reduce((product, size) => product * size, 1);
      const values = Float32Array.from({ length: count }, () => least + 0.2 * random.normal());
      return { name: `base_model.model.${name}.${end}`, dtype: "F32", shape, values: async () => values } as const;
    };
    const magnitude = use_dora ? [put("lora_magnitude_vector", [rows], 1.5)] : [];
    return [put("lora_A.weight", [rank, columns]), put("lora_B.weight", [rows, rank]), ...magnitude];
  });
  await writeSafetensors(join(directory, "adapter_model.safetensors"), tensors);
  const ranks = Object.fromEntries(modules.map(({ name, rank }) => [name.replaceAll(".", "\\."), rank]));
  const config = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: null, r: 3, lora_alpha: 6 },
    ...{ lora_dropout: 0, bias: "none", rank_pattern: ranks, target_modules: modules.map(({ name }) => name) },
    ...changes,
  };
  writeFileSync(join(directory, "adapter_config.json"), JSON.stringify(config));
  return directory;
}

async function logitsOf(base: string, adapter: string): Promise<ArrayLike<number>> {
  const opened = await openCheckpoint(base);
  try {
    const { checkpoint, saved, close } = await openGivenAdapter(adapter, opened);
    try {
      const model = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
      await saved.load(model, adapter);
      return await sequenceLogits(model, IDS);
    } finally {
      await close();
    }
  } finally {
    await opened.source.close();
  }
}

/** The base of a golden model and the same one in transformers' architecture, with that one's modules. */
async function bothForms(
  family: string,
): Promise<{ base: string; converted: string; modules: Module[]; spec: DecoderSpec }> {
  const base = join(GOLDEN, family);
  const converted = mkdtempSync(join(root, `${family}-`));
  const { config, source } = await openCheckpoint(base);
  const spec = readSpec(config, base);
  const native = nativeSpec(spec, base);
  const own = familyNamed(native.family, base);
  await saveHuggingFaceFolder(
    converted,
    own.writeConfig(native),
    nativeTensors(tensorsToWrite(source, "F32"), spec, native, base),
  );
  await source.close();
  const layers = Array.from({ length: spec.layers }, (_, index) => linearModules(native, own, index)).flat();
  const modules = layers.map(({ name, rows, columns }, i) => ({ name, rows, columns, rank: 1 + (i % 3) }));
  return { base, converted, modules, spec };
}

describe.each(["chatglm2", "baichuan2-7b"])("an adapter of the converted %s on the published form", (family) => {
  const choices: [string, (name: string, i: number) => boolean, object][] = [
    ["of all modules, with ranks of their own", () => true, {}],
    ["of queries and values alone", (name) => /q_proj|v_proj/.test(name), {}],
    ["with rsLoRA and an alpha for values", () => true, { use_rslora: true, alpha_pattern: { v_proj: 2 } }],
    ["with trained lengths", () => true, { use_dora: true }],
    ["of one layer", (name) => name.includes("layers.1."), {}],
  ];
  it.each(choices)("%s", async (_, isChosen, changes) => {
    const { base, converted, modules } = await bothForms(family);
    const adapter = await writeAdapter(
      family,
      modules.filter(({ name }, i) => isChosen(name, i)),
      changes,
    );
    const [got, wanted] = [await logitsOf(base, adapter), await logitsOf(converted, adapter)];
    expect(worstOf(got, wanted).difference).toBeLessThan(1e-4);
    // A mistake in the adapter would be seen.
    const none = await writeAdapter("none", [modules[0]], { lora_alpha: 0 });
    expect(worstOf(await logitsOf(converted, none), wanted).difference).toBeGreaterThan(0.01);
  });

  it("is merged into the same model", async () => {
    const { base, converted, modules } = await bothForms(family);
    const adapter = await writeAdapter(family, modules);
    const opened = await openCheckpoint(base);
    const { checkpoint, saved, close } = await openGivenAdapter(adapter, opened);
    if (typeof saved.merge !== "function") throw new Error("no merging");
    const { tensors } = await saved.merge(tensorsToWrite(checkpoint.source, "F32"), adapter, "out");
    const merged = mkdtempSync(join(root, "merged-"));
    await saveHuggingFaceFolder(merged, checkpoint.config, tensors);
    await close();
    await opened.source.close();
    const found = await openCheckpoint(merged);
    const model = await loadDecoder(backend, found, { storage: "float32", trainable: false });
    await found.source.close();
    const wanted = await logitsOf(converted, adapter);
    expect(worstOf(await sequenceLogits(model, IDS), wanted).difference).toBeLessThan(1e-4);
  });

  it("is refused where it cannot be joined exactly, with the reason", async () => {
    const { base, modules } = await bothForms(family);
    const dora = await writeAdapter(
      family,
      modules.filter(({ name }) => /q_proj/.test(name)),
      { use_dora: true },
    );
    await expect(logitsOf(base, dora)).rejects.toThrow(
      "k_proj, model.layers.0.self_attn.v_proj have no trained lengths",
    );
    const wrong = modules.map((module) => ({ ...module, rows: module.rows + 1 }));
    await expect(logitsOf(base, await writeAdapter(family, wrong))).rejects.toThrow(
      /q_proj" has \[\d+,1\], expected \[/,
    );
  });
});

it("gate and up of a GLM-4 become one product", async () => {
  const base = join(root, "glm4");
  const model = await tinyFamily(backend, "glm4", { seed: 4 });
  await saveDecoder(model, base, { dtype: "F32" });
  const { width, feedForward, layers } = model.spec;
  const modules = Array.from({ length: layers }, (_, i) =>
    ["gate_proj", "up_proj"].map((name, part) => ({
      ...{ name: `model.layers.${i}.mlp.${name}`, rows: feedForward, columns: width, rank: 2 + part },
    })),
  ).flat();
  const adapter = await writeAdapter("glm4", modules, { target_modules: ["gate_proj", "up_proj"] });
  const wanted = await mergedByHand(model, adapter, modules);
  expect(worstOf(await logitsOf(base, adapter), wanted).difference).toBeLessThan(1e-4);
});

/** The logits with b·a added to each matrix. */
async function mergedByHand(model: Decoder, adapter: string, modules: readonly Module[]): Promise<ArrayLike<number>> {
  const tensors = await openSafetensors(join(adapter, "adapter_model.safetensors"));
  for (const { name, rows, columns, rank } of modules) {
    const layer = model.layers[Number(/layers\.(\d+)/.exec(name)?.[1])];
    const { weight } = name.endsWith("gate_proj") ? layer.gate : layer.up;
    const values = Float32Array.from(await backend.readWeight(weight));
    const [a, b] = [
      await tensors.read(`base_model.model.${name}.lora_A.weight`),
      await tensors.read(`base_model.model.${name}.lora_B.weight`),
    ];
    mergeLowRank(values, { a, b, scale: 6 / rank, magnitude: null }, [rows, columns, rank]);
    backend.writeWeight(weight, values);
  }
  await tensors.close();
  return sequenceLogits(model, IDS);
}

it("an adapter with the base's own names stays as it is", async () => {
  const base = join(GOLDEN, "chatglm2");
  const opened = await openCheckpoint(base);
  const { isJoined, close } = await openGivenAdapter(join(base, "adapter"), opened);
  await close();
  await opened.source.close();
  expect(isJoined).toBe(false);
});
