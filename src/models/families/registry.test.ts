import { describe, expect, it } from "vitest";
import { chatTemplates } from "../../prompts/chat-template.ts";
import { isLinearSlot, LAYER_SLOTS } from "../layer.ts";
import { TINY_MODELS } from "../tiny.ts";
import { FAMILIES, familyNamed, TOKENIZER_RULES } from "./registry.ts";

describe("the table of families", () => {
  it("has each name and each GGUF architecture once", () => {
    expect(new Set(FAMILIES.map(({ modelType }) => modelType)).size).toBe(FAMILIES.length);
    expect(new Set(FAMILIES.map(({ gguf }) => gguf.architecture)).size).toBe(FAMILIES.length);
  });

  it("names the chat template of each family's chat models", () => {
    const templates = FAMILIES.map(({ modelType, chatTemplate }) => [modelType, chatTemplate]);
    expect(Object.fromEntries(templates)).toEqual({
      llama: "llama2",
      chatglm: "chatglm2",
      baichuan: "baichuan2",
      qwen2: "qwen",
      qwen3: "qwen",
    });
    for (const [, template] of templates) expect(Object.keys(chatTemplates)).toContain(template);
    expect(() => familyNamed("gpt2", "prompt.template")).toThrow(
      'prompt.template: model_type is "gpt2", supported: llama, chatglm, baichuan, qwen2, qwen3.',
    );
  });

  it("gives tokenizers the rules of the families that have one", () => {
    expect(TOKENIZER_RULES).toEqual([
      { modelType: "llama", tokenizerClass: "LlamaTokenizer", commandPieces: [] },
      {
        modelType: "chatglm",
        tokenizerClass: "ChatGLMTokenizer",
        commandPieces: ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"],
        beginPieces: ["[gMASK]", "sop"],
      },
    ]);
  });

  it("has tiny models of every family", () => {
    const names = ["llama2", "chatglm2", "baichuan2-7b", "baichuan2-13b", "qwen2", "qwen3"];
    expect(Object.keys(TINY_MODELS)).toEqual(names);
    expect(new Set(Object.values(TINY_MODELS).map(({ family }) => family)).size).toBe(FAMILIES.length);
  });

  it.each(FAMILIES.map((family) => [family.modelType, family] as const))(
    "%s has every slot of a layer once",
    (_, family) => {
      const slots = family.modules.flatMap((module) => [...module.slots]);
      const needed = LAYER_SLOTS.filter((slot) => isLinearSlot(slot) || !/^(query|key)Norm$/.test(slot));
      expect(slots).toEqual(expect.arrayContaining(needed));
      expect(new Set(slots).size).toBe(slots.length);
      for (const { slots: joined, gguf } of family.modules) expect([1, joined.length]).toContain(gguf.length);
      const last = family.modules.map(({ name }) => name.slice(name.lastIndexOf(".") + 1));
      expect(last).toEqual(expect.arrayContaining([...family.loraTargets]));
    },
  );
});
