import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, TOKENIZER, temporaryFolder, toyRows, writeRecipe } from "../e2e/support.ts";
import { addGgufFields, editJson, editSafetensors, type GgufValue } from "./edit-models.ts";
import { done, expectMistake, HANG_MS, mistake } from "./outcome.ts";
import { copyOf, type ToyRuns, toyRuns } from "./toy-runs.ts";

const temporary = temporaryFolder("models");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
let toys: ToyRuns;
/** A llama2 model of 2 layers with its own head, in float32. */
let model: string;
let gguf: string;

beforeAll(async () => {
  toys = await toyRuns();
  model = file("model");
  writeFileSync(ROWS, jsonl(toyRows(2, 9)));
  const init = ["model", "init", "--tokenizer", TOKENIZER, "--dtype", "F32", "--output"];
  await done([...init, model, "--family", "llama2"]);
  await done([...init, file("qwen3"), "--family", "qwen3"]);
  await done(["export", toys.run, "--to", "gguf", "--output", file("gguf")]);
  gguf = file("gguf/run-F32.gguf");
}, 120_000);
afterAll(() => temporary.remove());

let copies = 0;
function modelCopy(from = model): string {
  const copy = file(`copy-${++copies}`);
  cpSync(from, copy, { recursive: true });
  return copy;
}

const generate = (path: string) => ["model", "generate", path, "--prompt", "远山", "--max-new-tokens", "6"];

describe("numbers that are none", () => {
  const VALUES: [string, number][] = [
    ["NaN", 0x7fc00000],
    ["Infinity", 0x7f800000],
    ["-Infinity", 0xff800000],
  ];

  /** Puts a float32 with these bits into the middle of the first tensor whose name holds a text; returns its name. */
  function spoil(path: string, part: string, bits: number): string {
    let found = "";
    editSafetensors(path, (tensors) => {
      for (const [name, { bytes, dtype }] of tensors) {
        if (!name.includes(part) || dtype !== "F32") continue;
        bytes.writeUInt32LE(bits, 4 * Math.floor(bytes.length / 8));
        found = name;
        return;
      }
    });
    expect(found).not.toBe("");
    return found;
  }

  it.each(VALUES)("%s in the weights of a run is refused by file and tensor", async (_, bits) => {
    for (const part of ["embed_tokens", "up_proj", "norm"]) {
      const run = copyOf(toys.run, file(`run-${++copies}`));
      const weights = join(run, "model", "model.safetensors");
      const name = spoil(weights, part, bits);
      await mistake(["extract", run, ROWS], ["model.safetensors", name]);
      if (part !== "up_proj") continue;
      await mistake(["evaluate", run], ["model.safetensors", name]);
      await mistake(
        ["export", run, "--to", "merged", "--output", file(`out-${++copies}`)],
        ["model.safetensors", name],
      );
      await mistake(["export", run, "--to", "gguf", "--output", file(`out-${++copies}`)], ["model.safetensors", name]);
    }
  });

  it.each(VALUES)("%s in an adapter is refused by file and tensor", async (_, bits) => {
    const run = copyOf(toys.loraRun, file(`run-${++copies}`));
    const name = spoil(join(run, "adapter_model.safetensors"), "lora_B", bits);
    const texts = ["adapter_model.safetensors", name];
    await mistake(["extract", run, ROWS], texts);
    await mistake(["evaluate", run], texts);
    await mistake(["export", run, "--to", "merged", "--output", file(`out-${++copies}`)], texts);
    await mistake(["export", run, "--to", "peft", "--output", file(`out-${++copies}`)], texts);
  });

  it("in a base model are refused by train, generate and extract of its runs", async () => {
    const base = modelCopy(toys.base);
    const name = spoil(join(base, "model.safetensors"), "down_proj", VALUES[0][1]);
    const texts = ["model.safetensors", name];
    await mistake(generate(base), texts);
    await mistake(["train", toys.loraRecipe, "--set", `model.path=${base}`, "--run", file("never")], texts);
  });
});

describe("a head beside a tied embedding", () => {
  /** A tied base with an lm_head.weight too: a copy of the embedding, changed. */
  function withHead(change: (bytes: Buffer) => void): string {
    const copy = modelCopy(toys.base);
    editSafetensors(join(copy, "model.safetensors"), (tensors) => {
      const embedding = tensors.get("model.embed_tokens.weight")!;
      const bytes = Buffer.from(embedding.bytes);
      change(bytes);
      tensors.set("lm_head.weight", { ...embedding, bytes });
    });
    return copy;
  }

  it("is accepted when it is the embedding again", async () => {
    const { stdout } = await done(generate(withHead(() => {})));
    expect(stdout).toBe((await done(generate(toys.base))).stdout);
  });

  it("is refused by name when one number differs, by every command that reads the model", async () => {
    const copy = withHead((bytes) => bytes.writeFloatLE(bytes.readFloatLE(400) + 1, 400));
    await mistake(generate(copy), ["lm_head.weight", /tie_word_embeddings|tied/]);
    await mistake(
      ["train", toys.loraRecipe, "--set", `model.path=${copy}`, "--run", file("never")],
      ["lm_head.weight"],
    );
  });
});

describe("positions that config.json scales", () => {
  const SCALED: [string, Record<string, unknown>][] = [
    ["rope_scaling", { rope_scaling: { type: "dynamic", factor: 2 } }],
    [
      "rope_scaling",
      { rope_parameters: { rope_type: "default", rope_theta: 10000 }, rope_scaling: { type: "linear", factor: 2 } },
    ],
    ["rope_parameters", { rope_parameters: { rope_type: "longrope", factor: 2, rope_theta: 10000 } }],
    ["rope_parameters", { rope_parameters: { rope_type: "default", factor: 2, rope_theta: 10000 } }],
    ["rope_scaling", { rope_scaling: { factor: 2 } }],
    ["rope_scaling", { rope_scaling: { rope_type: "default", type: "linear", factor: 2 } }],
    ["rope_parameters", { rope_theta: 10000, rope_parameters: { rope_type: "default", rope_theta: 500000 } }],
  ];

  it.each(SCALED)("%s is refused: %j", async (name, keys) => {
    const copy = modelCopy();
    editJson(join(copy, "config.json"), (config) => Object.assign(config, keys));
    await mistake(["model", "info", copy], [copy, name]);
    await mistake(generate(copy), [copy, name]);
  });

  it.each(["qwen3", "model"])("nested rope_parameters of %s are honoured or refused", async (name) => {
    const copy = modelCopy(file(name));
    editJson(join(copy, "config.json"), (config) => {
      delete config.rope_theta;
      config.rope_parameters = { full_attention: { rope_type: "default", rope_theta: 500000 } };
    });
    const outcome = await cre(["model", "info", copy], { timeoutMs: HANG_MS });
    if (outcome.code === 0) expect(outcome.stdout).toMatch(/base 500,?000/);
    else expectMistake(outcome, [copy, "rope_parameters"]);
  });
});

describe("keys of config.json that change the numbers", () => {
  const KEYS: [string, unknown][] = [
    ["logit_scale", 2],
    ["logits_scaling", 2],
    ["residual_multiplier", 0.5],
    ["embedding_multiplier", 2],
    ["attention_multiplier", 0.5],
    ["attn_logit_softcapping", 50],
    ["final_logit_softcapping", 30],
    ["partial_rotary_factor", 0.5],
    ["no_rope_layers", [0]],
    ["use_qk_norm", true],
    ["clip_qkv", 8],
    ["attention_bias", true],
    ["mlp_bias", true],
    ["use_sliding_window", true],
    ["quantization_config", { quant_method: "gptq", bits: 4 }],
    ["a_key_of_next_year", 2],
  ];

  it.each(KEYS)("%s = %j is refused by name", async (key, value) => {
    for (const from of [model, file("qwen3")]) {
      const copy = modelCopy(from);
      editJson(join(copy, "config.json"), (config) => {
        config[key] = value;
        // By default Qwen's first 28 layers look at everything: without this the small model has no window.
        if (key === "use_sliding_window") config.max_window_layers = 0;
      });
      await mistake(["model", "info", copy], [copy, key]);
    }
  });

  it("are accepted at the value that changes nothing", async () => {
    const copy = modelCopy();
    const idle = { attention_bias: false, mlp_bias: false, attention_dropout: 0, pretraining_tp: 1, use_cache: true };
    editJson(join(copy, "config.json"), (config) =>
      Object.assign(config, idle, { transformers_version: "5.0.0", rope_scaling: null, bos_token_id: 1 }),
    );
    await done(["model", "info", copy]);
  });
});

describe("fields of a GGUF file that change the numbers", () => {
  const FIELDS: [string, Record<string, GgufValue>][] = [
    ["llama.rope.scaling.factor", { "llama.rope.scaling.factor": 4 }],
    ["llama.rope.scale_linear", { "llama.rope.scale_linear": 4 }],
    ["llama.rope.scaling.type", { "llama.rope.scaling.type": "longrope", "llama.rope.scaling.factor": 4 }],
    ["llama.expert_count", { "llama.expert_count": 8n }],
    ["llama.attention.scale", { "llama.attention.scale": 0.5 }],
    ["llama.logit_scale", { "llama.logit_scale": 2 }],
    ["llama.attention.sliding_window", { "llama.attention.sliding_window": 16n }],
    ["llama.attention.causal", { "llama.attention.causal": false }],
    ["llama.attn_logit_softcapping", { "llama.attn_logit_softcapping": 50 }],
    ["llama.use_parallel_residual", { "llama.use_parallel_residual": true }],
    ["llama.a_field_of_next_year", { "llama.a_field_of_next_year": 2 }],
  ];

  it.each(FIELDS)("%s is refused by name", async (name, fields) => {
    const copy = file(`gguf-${++copies}.gguf`);
    writeFileSync(copy, readFileSync(gguf));
    addGgufFields(copy, fields);
    await mistake(["model", "info", copy], [copy, name]);
  });

  it("are accepted at the value that changes nothing, as are those that say nothing on numbers", async () => {
    const copy = file(`gguf-${++copies}.gguf`);
    writeFileSync(copy, readFileSync(gguf));
    addGgufFields(copy, { "llama.rope.scaling.factor": 1, "general.description": "toy", "general.quantized_by": "us" });
    const [before, after] = [await done(["model", "info", gguf]), await done(["model", "info", copy])];
    expect(after.stdout).toBe(before.stdout);
  });
});

describe("case B19: tokens that were added beside tokenizer.model", () => {
  const ADDED = ["<|im_start|>", "<|im_end|>"];

  /** A llama2 folder whose vocabulary has two more tokens. */
  function grown(write: (folder: string, first: number) => void): { folder: string; first: number } {
    const folder = modelCopy();
    let first = 0;
    editJson(join(folder, "config.json"), (config) => {
      first = config.vocab_size as number;
      config.vocab_size = first + ADDED.length;
    });
    editSafetensors(join(folder, "model.safetensors"), (tensors) => {
      for (const name of ["model.embed_tokens.weight", "lm_head.weight"]) {
        const tensor = tensors.get(name);
        if (!tensor) continue;
        const [rows, columns] = tensor.shape;
        const more = Buffer.alloc(4 * columns * ADDED.length, Buffer.from([0, 0, 0, 0x3f]));
        tensors.set(name, {
          ...tensor,
          shape: [rows + ADDED.length, columns],
          bytes: Buffer.concat([tensor.bytes, more]),
        });
      }
    });
    write(folder, first);
    return { folder, first };
  }

  const WAYS: Record<string, (folder: string, first: number) => void> = {
    "added_tokens.json": (folder, first) =>
      writeFileSync(
        join(folder, "added_tokens.json"),
        JSON.stringify(Object.fromEntries(ADDED.map((token, i) => [token, first + i]))),
      ),
    "added_tokens_decoder of tokenizer_config.json": (folder, first) => {
      const decoder = Object.fromEntries(
        ADDED.map((content, i) => [
          String(first + i),
          { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
        ]),
      );
      writeFileSync(
        join(folder, "tokenizer_config.json"),
        JSON.stringify({ tokenizer_class: "LlamaTokenizer", added_tokens_decoder: decoder }),
      );
    },
  };

  it.each(Object.entries(WAYS))("%s: one id each, or the folder is refused by the file's name", async (way, write) => {
    const { folder, first } = grown(write);
    const outcome = await cre(["tokenize", folder], {
      input: `${ADDED[0]}远山\n远山${ADDED[1]}\n`,
      timeoutMs: HANG_MS,
    });
    if (outcome.code !== 0) return expectMistake(outcome, [way.split(" of ").at(-1) as string]);
    const [start, end] = outcome.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as number[]);
    expect(start).toContain(first);
    expect(end.at(-1)).toBe(first + 1);
    expect(start.length).toBeLessThan(6);
  });

  it("lets a ChatML template train on such a folder", async () => {
    const { folder } = grown(WAYS["added_tokens.json"]);
    const recipe = writeRecipe(file("chatml.yaml"), {
      model: { path: folder, storage: "float32" },
      data: { path: toys.data },
      prompt: { style: "marked", template: "qwen", maxPromptTokens: 256, maxAnswerTokens: 32 },
      adapter: { method: "lora", rank: 4, alpha: 8, targets: "all" },
      train: { epochs: 0.25, batchExamples: 4, learningRate: 0.001 },
    });
    const outcome = await cre(["train", recipe, "--run", file("chatml")], { timeoutMs: 2 * HANG_MS });
    if (outcome.code !== 0) expectMistake(outcome, ["added_tokens.json"]);
  });
});
