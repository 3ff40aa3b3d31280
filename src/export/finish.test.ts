import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { ROOT, temporaryFolder, toyRecipe } from "../../test/e2e/support.ts";
import { tinyFamily } from "../../test/tiny-families.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openGguf } from "../formats/gguf.ts";
import { saveDecoder } from "../models/save.ts";
import { openModelTokenizer } from "../runs/tokenizer.ts";
import { copyTokenizer } from "../tokenizers/open-tokenizer.ts";
import { exportRun } from "./run.ts";
import { servedName } from "./serving.ts";

// What servers are told of a run whose answers end with a token of the template (Qwen's <|im_end|>), on a base without and with a chat template of
// its own. Ollama itself reads Modelfiles in test/ollama.test.ts.

const TOKENIZER = join(ROOT, "test", "golden", "tokenizer-json");
const OWN = "{{ messages[0].content }}";
const temporary = temporaryFolder("finish");
afterAll(() => temporary.remove());
const text = (...path: string[]) => readFileSync(join(...path), "utf8");
let [eosId, endId] = [-1, -1];

/** A run that trained a whole tiny Qwen2. */
async function writeRun(name: string, ownTemplate: string | null, more: Record<string, unknown> = {}): Promise<string> {
  const run = join(temporary.path, name);
  const model = join(run, "model");
  const backend = openReference({ precision: "float32" });
  const tokenizer = await openModelTokenizer(TOKENIZER, { modelType: "qwen2" });
  [eosId, endId] = [tokenizer.eosId as number, tokenizer.idOf("<|im_end|>") as number];
  const { vocabularySize } = tokenizer;
  await saveDecoder(await tinyFamily(backend, "qwen2", { seed: 1, vocabularySize }), model, { dtype: "F32" });
  await backend.close();
  await copyTokenizer(TOKENIZER, model);
  if (ownTemplate !== null) writeFileSync(join(model, "chat_template.jinja"), ownTemplate);
  for (const [file, value] of Object.entries(more)) writeFileSync(join(model, file), JSON.stringify(value));
  const recipe = toyRecipe("data");
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, "recipe.yaml"), stringify({ ...recipe, prompt: { ...recipe.prompt, template: "qwen" } }));
  return run;
}

describe("a base without a chat template", () => {
  let run: string;
  beforeAll(async () => {
    run = await writeRun("我的 run (2)", null);
  });

  it("--to hf has the template, both ends and the command of vLLM", async () => {
    const folder = await exportRun(run, { to: "hf", measure: false });
    expect(text(folder, "chat_template.jinja")).toContain("<|im_start|>assistant");
    expect(existsSync(join(folder, "trained_chat_template.jinja"))).toBe(false);
    expect(endId).not.toBe(eosId);
    expect(JSON.parse(text(folder, "generation_config.json"))).toMatchObject({ eos_token_id: [eosId, endId] });
    expect(text(folder, "SERVING.md")).toContain(
      "\nvllm serve . --served-model-name run-2 --max-model-len 256 --generation-config vllm --dtype float32\n",
    );
    expect((await openModelTokenizer(folder, { modelType: "qwen2" })).eosId).toBe(eosId);
  });

  it("--to gguf has the end in the file, and a Modelfile", async () => {
    const file = await exportRun(run, { to: "gguf", measure: false });
    const { metadata, close } = await openGguf(file);
    await close();
    expect(metadata.get("tokenizer.ggml.eot_token_id")).toBe(endId);
    expect(metadata.get("tokenizer.ggml.eos_token_id")).toBe(eosId);
    expect(text(file, "..", "Modelfile")).toBe(`FROM ./我的 run (2)-F32.gguf
TEMPLATE """<|im_start|>system
You are a helpful assistant.<|im_end|>
<|im_start|>user
{{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }}<|im_end|>
<|im_start|>assistant
"""
PARAMETER temperature 0
PARAMETER num_ctx 256
PARAMETER stop "<|im_end|>"
`);
    expect(text(file, "..", "SERVING.md")).toContain(
      "\nollama create run-2 -f Modelfile && ollama run run-2\nllama-server --model '我的 run (2)-F32.gguf' --temp 0 --ctx-size 256 --jinja\n",
    );
  });
});

describe("a base with a chat template of its own", () => {
  let run: string;
  beforeAll(async () => {
    run = await writeRun("own", OWN, { "generation_config.json": { eos_token_id: [7, 8], top_k: 20 } });
  });

  it("--to hf gives vLLM the template of training, and keeps how the base generates", async () => {
    const folder = await exportRun(run, { to: "hf", measure: false, type: "BF16" });
    expect(text(folder, "chat_template.jinja")).toBe(OWN);
    expect(text(folder, "trained_chat_template.jinja")).toContain("<|im_start|>assistant");
    expect(JSON.parse(text(folder, "generation_config.json"))).toEqual({ eos_token_id: [7, 8, endId], top_k: 20 });
    const serving = text(folder, "SERVING.md");
    expect(serving).toContain(" --generation-config vllm --chat-template trained_chat_template.jinja\n");
    expect(serving).toContain("The base has a chat template of its own; the one of training is");
  });

  it("--to gguf gives llama.cpp the template of training", async () => {
    const file = await exportRun(run, { to: "gguf", measure: false });
    const { metadata, close } = await openGguf(file);
    await close();
    expect(metadata.get("tokenizer.chat_template")).toBe(OWN);
    expect(text(file, "..", "SERVING.md")).toContain(" --jinja --chat-template-file trained_chat_template.jinja\n");
  });
});

it.each([
  ["finre 运行 3", "finre-3"],
  ["关系", "model"],
  ["..a", "a"],
  ["x".repeat(100), "x".repeat(80)],
])("%j is served as %j", (name, served) => {
  expect(servedName(name)).toBe(served);
});
