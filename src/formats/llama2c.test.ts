import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { saveHuggingFaceFolder } from "./hf-folder.ts";
import { findLlama2c, openLlama2c } from "./llama2c.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-llama2c-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** width 4, hidden 3, 2 layers, 2 heads, 1 key/value head, vocabulary 5, 6 positions. */
const SIZES = [4, 3, 2, 2, 1, 5, 6];
/** Embedding; per layer norm, q, k, v, o, norm, w1, w2, w3; norm, rotary tables; head. */
const FLOATS = 5 * 4 + 2 * (4 + 16 + 8 + 8 + 16 + 4 + 12 + 12 + 12) + 4 + 6 * 2;

/** A checkpoint whose weights count up from 0. */
function bytesOf(sizes: number[], floats: number): Buffer {
  return Buffer.concat([
    Buffer.from(Int32Array.from(sizes).buffer),
    Buffer.from(Float32Array.from({ length: floats }, (_, i) => i).buffer),
  ]);
}

function put(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
}

describe("openLlama2c", () => {
  it("finds every tensor in its place", async () => {
    const file = put("model.bin", bytesOf(SIZES, FLOATS));
    const { config, source } = await openLlama2c(file);
    expect(config).toMatchObject({
      model_type: "llama",
      hidden_size: 4,
      intermediate_size: 3,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      vocab_size: 5,
      max_position_embeddings: 6,
      rope_layout: "interleaved",
      tie_word_embeddings: true,
    });
    const starts: [string, number[], number][] = [];
    for (const [name, { shape }] of source.tensors) starts.push([name, [...shape], (await source.read(name))[0]]);
    const layer = (i: number, name: string) => `model.layers.${i}.${name}.weight`;
    expect(starts).toEqual([
      ["model.embed_tokens.weight", [5, 4], 0],
      [layer(0, "input_layernorm"), [4], 20],
      [layer(1, "input_layernorm"), [4], 24],
      [layer(0, "self_attn.q_proj"), [4, 4], 28],
      [layer(1, "self_attn.q_proj"), [4, 4], 44],
      [layer(0, "self_attn.k_proj"), [2, 4], 60],
      [layer(1, "self_attn.k_proj"), [2, 4], 68],
      [layer(0, "self_attn.v_proj"), [2, 4], 76],
      [layer(1, "self_attn.v_proj"), [2, 4], 84],
      [layer(0, "self_attn.o_proj"), [4, 4], 92],
      [layer(1, "self_attn.o_proj"), [4, 4], 108],
      [layer(0, "post_attention_layernorm"), [4], 124],
      [layer(1, "post_attention_layernorm"), [4], 128],
      [layer(0, "mlp.gate_proj"), [3, 4], 132],
      [layer(1, "mlp.gate_proj"), [3, 4], 144],
      [layer(0, "mlp.down_proj"), [4, 3], 156],
      [layer(1, "mlp.down_proj"), [4, 3], 168],
      [layer(0, "mlp.up_proj"), [3, 4], 180],
      [layer(1, "mlp.up_proj"), [3, 4], 192],
      ["model.norm.weight", [4], 204],
    ]);
    await expect(source.read("lm_head.weight")).rejects.toThrow(`${file}: tensor "lm_head.weight" is missing.`);
    await source.close();
  });

  it("reads a head of its own where the vocabulary is negative", async () => {
    const file = put("untied.bin", bytesOf([4, 3, 2, 2, 1, -5, 6], FLOATS + 20));
    const { config, source } = await openLlama2c(file);
    expect(config).toMatchObject({ vocab_size: 5, tie_word_embeddings: false });
    expect(Array.from(await source.read("lm_head.weight")).slice(0, 2)).toEqual([FLOATS, FLOATS + 1]);
    await source.close();
  });

  it("refuses a file of another length, cut anywhere", async () => {
    const whole = bytesOf(SIZES, FLOATS);
    for (let length = 0; length < whole.length; length += 5) {
      await expect(openLlama2c(put("cut.bin", whole.subarray(0, length)))).rejects.toThrow(UserError);
    }
    const file = put("cut.bin", whole.subarray(0, -1));
    await expect(openLlama2c(file)).rejects.toThrow(
      `${file}: has ${whole.length - 1} bytes, but its header (width 4, hidden 3, layers 2, heads 2, keyValueHeads 1, ` +
        `vocabulary 5, positions 6) needs ${whole.length}.`,
    );
    await expect(openLlama2c(put("cut.bin", whole.subarray(0, 27)))).rejects.toThrow("too short for llama2.c's header");
    await expect(openLlama2c(put("long.bin", Buffer.concat([whole, Buffer.alloc(4)])))).rejects.toThrow(/needs/);
  });

  it.each([
    [[0, 3, 2, 2, 1, 5, 6], "width is 0, expected 1 to 1048576."],
    [[4, 3, -2, 2, 1, 5, 6], "layers is -2, expected 1 to 1048576."],
    [[4, 3, 2, 2, 1, 0, 6], "vocabulary is 0, expected 1 to 1048576."],
    [[4, 3, 2, 2, 1, -(2 ** 31), 6], "vocabulary is 2147483648, expected 1 to 1048576."],
    [[0x616b3432, 1, 2, 2, 1, 5, 6], "width is 1634415666, expected 1 to 1048576."],
    [[4, 3, 2, 3, 1, 5, 6], "4 wide with 3 heads and 1 key/value heads does not divide."],
    [[4, 3, 2, 2, 4, 5, 6], "4 wide with 2 heads and 4 key/value heads does not divide."],
  ])("refuses the header %j", async (sizes, problem) => {
    const file = put("header.bin", bytesOf(sizes, FLOATS));
    await expect(openLlama2c(file)).rejects.toThrow(`${file}: ${problem}`);
  });

  it("refuses an absurd header before it makes a list of it", async () => {
    const most = 2 ** 20;
    const file = put("absurd.bin", bytesOf([most, most, most, most, most, most, most], 10));
    const start = performance.now();
    await expect(openLlama2c(file)).rejects.toThrow(/has 68 bytes, but its header .* needs 32281815323139637000\.$/);
    expect(performance.now() - start).toBeLessThan(500);
  });
});

describe("openCheckpoint", () => {
  const newFolder = (name: string) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };

  it("opens a llama2.c file, or the folder that it is in", async () => {
    const inside = newFolder("stories");
    writeFileSync(join(inside, "model.bin"), bytesOf(SIZES, FLOATS));
    writeFileSync(join(inside, "tok5.bin"), "tokens");
    for (const path of [inside, join(inside, "model.bin")]) {
      const checkpoint = await openCheckpoint(path);
      expect(checkpoint.directory).toBe(join(inside, "model.bin"));
      await checkpoint.source.close();
    }
  });

  it("opens a Hugging Face folder", async () => {
    const inside = newFolder("hf");
    await saveHuggingFaceFolder(inside, { model_type: "x" }, []);
    writeFileSync(join(inside, "model.bin"), bytesOf(SIZES, FLOATS));
    const checkpoint = await openCheckpoint(inside);
    expect(checkpoint.config).toEqual({ model_type: "x" });
    await checkpoint.source.close();
    await expect(openCheckpoint(join(inside, "model.safetensors"))).rejects.toMatchObject({
      message: `${join(inside, "model.safetensors")}: is one file of a model.`,
      hint: `Give the folder: ${inside}`,
    });
  });

  it("says what was expected where there is no model", async () => {
    const inside = newFolder("empty");
    writeFileSync(join(inside, "tokenizer.bin"), "tokens");
    writeFileSync(join(inside, "pytorch_model.bin"), "weights");
    await expect(openCheckpoint(inside)).rejects.toThrow(
      `${inside}: has no config.json, no GGUF file and no llama2.c checkpoint.`,
    );
    expect(await findLlama2c(inside)).toBeNull();
    await expect(openCheckpoint(join(inside, "absent"))).rejects.toThrow(/absent: cannot be read \(ENOENT/);
    await expect(openCheckpoint("/dev/null")).rejects.toThrow("/dev/null: is neither a file nor a folder");
  });

  it("says what is wrong with the only checkpoint of a folder", async () => {
    const inside = newFolder("cut");
    writeFileSync(join(inside, "stories.bin"), bytesOf(SIZES, FLOATS).subarray(0, 100));
    await expect(openCheckpoint(inside)).rejects.toThrow(/stories\.bin: has 100 bytes, but its header/);
  });
});
