import { describe, expect, it } from "vitest";
import { chatTemplates } from "../../prompts/chat-template.ts";
import { isLinearSlot, LAYER_SLOTS } from "../layer.ts";
import { TINY_MODELS } from "../tiny.ts";
import { FAMILIES, familyNamed, TOKENIZER_RULES } from "./registry.ts";

describe("the table of families", () => {
  it("has each name once, and of families that share a GGUF architecture at most one for each form of queries", () => {
    expect(new Set(FAMILIES.map(({ modelType }) => modelType)).size).toBe(FAMILIES.length);
    const architectures = FAMILIES.map(({ modelType, gguf }) => [modelType, gguf.architecture]);
    // A Mistral file of llama.cpp's is one of a Llama; a GLM-4 file has queries of their own, ChatGLM2's one matrix.
    expect(architectures.filter(([name, architecture]) => name !== architecture)).toEqual([
      ["mistral", "llama"],
      ["glm", "chatglm"],
    ]);
  });

  it("names the chat template of each family's chat models", () => {
    const templates = FAMILIES.map(({ modelType, chatTemplate }) => [modelType, chatTemplate]);
    expect(Object.fromEntries(templates)).toEqual({
      llama: "llama2",
      chatglm: "chatglm2",
      baichuan: "baichuan2",
      qwen2: "qwen",
      qwen3: "qwen",
      mistral: "mistral",
      glm: "glm4",
    });
    for (const [, template] of templates) expect(Object.keys(chatTemplates)).toContain(template);
    expect(() => familyNamed("gpt2", "prompt.template")).toThrow(
      'prompt.template: model_type is "gpt2", supported: llama, chatglm, baichuan, qwen2, qwen3, mistral, glm.',
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
    const names = ["llama2", "chatglm2", "baichuan2-7b", "baichuan2-13b", "qwen2", "qwen3", "mistral", "glm4"];
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
