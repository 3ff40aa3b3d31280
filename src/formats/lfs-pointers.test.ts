import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { openGguf } from "./gguf.ts";
import { openHuggingFaceFolder } from "./hf-folder.ts";
import { openLlama2c } from "./llama2c.ts";
import { openPeftFolder } from "./peft-folder.ts";

const root = mkdtempSync(join(tmpdir(), "cre-lfs-"));
afterAll(() => rmSync(root, { recursive: true }));

const POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 4096\n";
const CONFIG = '{"model_type": "llama"}';
const LORA = '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}';

describe("a Git LFS pointer in the place of", () => {
  it.each<[string, Record<string, string>, (path: string) => Promise<unknown>]>([
    ["model.safetensors", { "config.json": CONFIG }, (path) => openHuggingFaceFolder(dirname(path))],
    ["pytorch_model.bin", { "config.json": CONFIG }, (path) => openHuggingFaceFolder(dirname(path))],
    ["model.safetensors.index.json", { "config.json": CONFIG }, (path) => openHuggingFaceFolder(dirname(path))],
    ["config.json", {}, (path) => openHuggingFaceFolder(dirname(path))],
    ["adapter_model.safetensors", { "adapter_config.json": LORA }, (path) => openPeftFolder(dirname(path))],
    ["adapter_config.json", {}, (path) => openPeftFolder(dirname(path))],
    ["model.gguf", {}, openGguf],
    ["stories.bin", {}, openLlama2c],
  ])("%s says what to run", async (name, others, open) => {
    const folder = join(root, name);
    mkdirSync(folder);
    for (const [other, text] of Object.entries({ ...others, [name]: POINTER }))
      writeFileSync(join(folder, other), text);
    const error = await open(join(folder, name)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toMatch(`${join(folder, name)}: is a Git LFS pointer, expected `);
    expect((error as UserError).hint).toBe("Run: git lfs pull");
  });
});
