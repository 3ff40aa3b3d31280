import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { TOKENIZER, toyRecipe } from "../../test/e2e/support.ts";
import { worstOf } from "../../test/golden/backends.ts";
import { sequenceLogits } from "../../test/tiny-model.ts";
import { loadLora } from "../adapters/lora-files.ts";
import type { Backend } from "../compute/backend.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import type { Decoder } from "../models/decoder.ts";
import { loadDecoder } from "../models/load.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { exportModel } from "./model.ts";
import { exportRun } from "./run.ts";

// Models and adapters of the authors' code (test/golden/make/families.py) in transformers' own architectures; transformers itself opens such
// folders in test/native-export.test.ts.

const GOLDEN = join(import.meta.dirname, "..", "..", "test", "golden");
const root = mkdtempSync(join(tmpdir(), "cre-native-"));
afterAll(() => rmSync(root, { recursive: true }));
let backend: Backend;
beforeEach(() => {
  backend = openReference({ precision: "float32" });
});
afterEach(() => backend.close());

async function load(directory: string): Promise<Decoder> {
  const checkpoint = await openCheckpoint(directory);
  try {
    return await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false });
  } finally {
    await checkpoint.source.close();
  }
}

const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), "utf8"));

/** A base of the authors' with a tokenizer, and a run with PEFT's adapter on it. */
function prepare(family: string): { base: string; run: string } {
  const [base, run] = [join(root, `${family}-base`), join(root, family)];
  cpSync(join(GOLDEN, family), base, { recursive: true });
  copyFileSync(TOKENIZER, join(base, "tokenizer.model"));
  mkdirSync(run, { recursive: true });
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    copyFileSync(join(GOLDEN, family, "adapter", name), join(run, name));
  }
  const changes = {
    model: { path: base, storage: "float32" },
    adapter: { method: "lora", rank: 2, alpha: 8, dropout: 0, targets: "all" },
    prompt: { ...toyRecipe("data").prompt, template: { chatglm2: "chatglm2" }[family] ?? "baichuan2" },
  };
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...toyRecipe("data"), ...changes }));
  return { base, run };
}

const NATIVE: [string, string, string[]][] = [
  ["chatglm2", "GlmForCausalLM", ["k_proj", "q_proj", "v_proj"]],
  ["baichuan2-7b", "LlamaForCausalLM", ["k_proj", "q_proj", "v_proj"]],
];

describe.each(NATIVE)("%s as %s", (family, architecture, targets) => {
  const golden = readJson(GOLDEN, family, "golden.json");
  const expectLogits = async (model: Decoder, wanted: number[][]) => {
    for (const [i, ids] of golden.sequences.entries()) {
      const last = Array.from(await sequenceLogits(model, ids)).slice(-model.spec.vocabularySize);
      expect(worstOf(last, wanted[i]).difference).toBeLessThan(1e-4);
    }
  };

  it("--to hf has the logits of the authors' code, with and without the adapter", async () => {
    const { base, run } = prepare(family);
    const output = await exportModel(base, { to: "hf", type: "F32" });
    expect(readJson(output, "config.json")).toMatchObject({ architectures: [architecture], torch_dtype: "float32" });
    expect(readJson(output, "config.json")).not.toHaveProperty("auto_map");
    await expectLogits(await load(output), golden.base.lastLogits);
    await exportRun(run, { to: "hf", type: "F32" });
    await expectLogits(await load(join(run, "export", "hf")), golden.adapted.lastLogits);
  });

  it("--to hf-peft has the same on what --to hf made of the base", async () => {
    const { base, run } = prepare(family);
    const converted = await exportModel(base, { to: "hf", type: "F32" });
    const notices: string[] = [];
    const name = basename(base);
    const output = await exportRun(run, { to: "hf-peft", onNotice: (line) => notices.push(line) });
    const model = await load(converted);
    await loadLora(model, output);
    await expectLogits(model, golden.adapted.lastLogits);
    expect(readJson(output, "adapter_config.json")).toMatchObject({
      target_modules: targets,
      base_model_name_or_path: name,
    });
    expect(notices.filter((line) => line.includes("calls its base"))).toEqual([
      expect.stringMatching(
        `calls its base "${name}" \\(a copy that .* wrote\\).* --base-name NAME gives another name`,
      ),
    ]);
    const card = readFileSync(join(output, "README.md"), "utf8");
    expect(card).toContain(`Its base is a ${architecture} of transformers, which \`cre export BASE --to hf\` makes`);
    expect(card).not.toContain(root);
    await exportRun(run, { to: "hf-peft", baseName: "org/converted" });
    expect(readJson(output, "adapter_config.json").base_model_name_or_path).toBe("org/converted");
    expect(readFileSync(join(output, "README.md"), "utf8")).toContain('base_model: "org/converted"');
    const [theirs, ours] = [
      await openSafetensors(join(run, "adapter_model.safetensors")),
      await openSafetensors(join(output, "adapter_model.safetensors")),
    ];
    const [a] = [...theirs.tensors.keys()].filter((name) => name.includes("lora_A"));
    const copy = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight";
    expect(await ours.read(copy)).toEqual(await theirs.read(a));
    await Promise.all([theirs.close(), ours.close()]);
  });

  it("has the tokenizer, its chat template and how to generate, without the authors' files", async () => {
    const { base } = prepare(family);
    writeFileSync(join(base, "tokenization_own.py"), "import sentencepiece");
    const output = await exportModel(base, { to: "hf" });
    for (const name of ["tokenizer.model", "tokenization_own.py"]) expect(existsSync(join(output, name))).toBe(false);
    const config = readJson(output, "config.json");
    const modelType = readJson(base, "config.json").model_type;
    const [own, written] = [
      await openModelTokenizer(base, { modelType }),
      await openModelTokenizer(output, { modelType: config.model_type }),
    ];
    const texts = ["甲公司收购乙公司。", " a  b\n", "1998年，Zhang San 与 李四", "philosophy", ""];
    expect(written.encodeAll(texts)).toEqual(own.encodeAll(texts));
    expect(written.vocabularySize).toBe(own.vocabularySize);
    expect(readJson(output, "generation_config.json")).toMatchObject({ do_sample: false, eos_token_id: written.eosId });
    const serving = readFileSync(join(output, "SERVING.md"), "utf8");
    expect(serving).toContain("vllm serve . --served-model-name");
    if (family !== "chatglm2") return;
    // Two added tokens, of which one is found as a word only; in the data of a run they stay text.
    expect(written.encode("[gMASK]sop[Round 1]").slice(0, 2)).toEqual(["[gMASK]", "sop"].map(own.idOf));
    expect(written.encodePlain?.("[gMASK]sop")).toEqual(own.encode("[gMASK]sop"));
    const template = readFileSync(join(output, "chat_template.jinja"), "utf8");
    expect(template).toContain("{{- '[gMASK]sop[Round 1]\\n\\n问：' -}}");
  });
});

it("13B has no such form, and the reason is said", async () => {
  const { base } = prepare("baichuan2-13b");
  await expect(exportModel(base, { to: "hf" })).rejects.toThrow(
    /transformers has no architecture for this baichuan model: its positions are ALiBi \(13B\)/,
  );
});

it("a family of transformers is written as --to merged writes it", async () => {
  const base = join(root, "qwen2");
  cpSync(join(GOLDEN, "qwen2"), base, { recursive: true });
  cpSync(join(GOLDEN, "tokenizer-json"), base, { recursive: true });
  const output = await exportModel(base, { to: "hf" });
  expect(readJson(output, "config.json")).toEqual(readJson(base, "config.json"));
  const golden = readJson(GOLDEN, "qwen2", "golden.json");
  const model = await load(output);
  const last = Array.from(await sequenceLogits(model, golden.sequences[0])).slice(-64);
  expect(worstOf(last, golden.base.lastLogits[0]).difference).toBeLessThan(1e-4);
});

it("a model has no adapter", async () => {
  const { base } = prepare("chatglm2");
  await expect(exportModel(base, { to: "gguf-lora" })).rejects.toThrow("it is a model, which has no adapter");
  await expect(exportModel(base, { to: "hf", type: "Q8_0" })).rejects.toThrow("--type Q8_0 does not go with --to hf");
});
