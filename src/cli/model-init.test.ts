import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { TOKENIZER } from "../../test/e2e/support.ts";
import { openReference } from "../compute/reference/backend.ts";
import { openCheckpoint } from "../models/checkpoint.ts";
import { readSpec } from "../models/families/registry.ts";
import { loadDecoder } from "../models/load.ts";
import { TINY_MODELS } from "../models/tiny.ts";
import { openModelTokenizer as openTokenizer } from "../runs/tokenizer.ts";
import { addInitCommand } from "./model-init.ts";

const root = mkdtempSync(join(tmpdir(), "cre-init-"));
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;

async function init(...command: string[]): Promise<string> {
  const output = join(root, `model-${count++}`);
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addInitCommand(program);
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    await program.parseAsync(["init", ...command, "--output", output], { from: "user" });
  } finally {
    said.mockRestore();
  }
  return output;
}

describe("cre model init", () => {
  it.each(Object.keys(TINY_MODELS))("--family %s makes a model that loads with its tokenizer", async (name) => {
    const output = await init("--family", name, "--tokenizer", TOKENIZER, "--layers", "1", "--dtype", "F32");
    const tokenizer = await openTokenizer(output);
    const backend = openReference();
    const checkpoint = await openCheckpoint(output);
    try {
      const { vocabularySize: tokenCount } = tokenizer;
      const { spec } = await loadDecoder(backend, checkpoint, { storage: "float32", trainable: false, tokenCount });
      expect(spec).toMatchObject({ family: TINY_MODELS[name].family, layers: 1, tokenCount });
      expect(spec.tokenCount).toBeLessThanOrEqual(spec.vocabularySize);
      if (name === "chatglm2") {
        expect(spec.vocabularySize % 256).toBe(0);
        expect(tokenizer.idOf("sop")).toBe(tokenCount - 2);
      }
      const names = [...checkpoint.source.tensors.keys()];
      const isUp = (one: string) => /\.0\.mlp\.(?:up_proj|gate_up_proj|dense_h_to_4h)\.weight$/.test(one);
      const up = await checkpoint.source.read(names.find(isUp) as string);
      const deviation = Math.sqrt(up.reduce((sum, value) => sum + value * value, 0) / up.length);
      expect(deviation).toBeCloseTo(0.2, 2);
    } finally {
      await checkpoint.source.close();
      await backend.close();
    }
  });

  it("takes a recipe's model.init, a deviation and a seed", async () => {
    const recipe = join(root, "recipe.yaml");
    const sizes = { family: "qwen3", width: 16, layers: 1, heads: 2, keyValueHeads: 1, headWidth: 12, feedForward: 24 };
    writeFileSync(
      recipe,
      stringify({
        model: { init: sizes, tokenizer: TOKENIZER },
        data: {},
        prompt: {},
        adapter: { method: "full" },
        train: { epochs: 1, batchExamples: 1, learningRate: 0.001 },
      }),
    );
    const output = await init(recipe, "--deviation", "0.5", "--seed", "9");
    const config = JSON.parse(readFileSync(join(output, "config.json"), "utf8"));
    expect(readSpec(config, output)).toMatchObject({
      family: "qwen3",
      headWidth: 12,
      queryKeyNorm: true,
      tiedHead: true,
    });
  });

  it("wants a recipe or a family, not both and not none", async () => {
    const wanted = "expected a recipe file or --family, one of the two";
    await expect(init()).rejects.toThrow(wanted);
    await expect(init("x.yaml", "--family", "qwen2", "--tokenizer", TOKENIZER)).rejects.toThrow(wanted);
    await expect(init("--family", "qwen2")).rejects.toThrow("expected --tokenizer");
    await expect(init("--family", "gpt2", "--tokenizer", TOKENIZER)).rejects.toThrow("Allowed choices are llama2");
    await expect(init("--family", "qwen2", "--tokenizer", TOKENIZER, "--layers", "0")).rejects.toThrow("layers is 0");
  });
});
