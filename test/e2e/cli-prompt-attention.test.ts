import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "./support.ts";

const temporary = temporaryFolder("cli-prompt-attention");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("data"));
writeFileSync(join(data, "train.jsonl"), jsonl(toyRows(48, 1)));
const rows = file("rows.jsonl");
writeFileSync(rows, jsonl(toyRows(12, 9)));
const BOTH = ["--set", "prompt.attention=both"];
const LEARNS = ["--set", "train.epochs=12", "--set", "train.learningRate=0.02", "--set", "train.validateEvery=4"];
const toy = toyRecipe(data);
// An answer sees its whole prompt anyway: what the prompt's tokens see shows from the second layer on.
const model = { ...toy.model, init: { ...(toy.model.init as object), layers: 2 } };
const recipe = writeRecipe(file("toy.yaml"), { ...toy, model });
const run = file("run");

/** What `run` says with a text of its recipe replaced by another. */
async function extracted(
  text = "",
  other = "",
): Promise<{ predictions: { relation: string; probability: number }[] }[]> {
  const own = readFileSync(join(run, "recipe.yaml"), "utf8");
  expect(own).toContain(text);
  writeFileSync(join(run, "recipe.yaml"), own.replace(text, other));
  const { code, stdout, stderr } = await cre(["extract", run, rows]);
  writeFileSync(join(run, "recipe.yaml"), own);
  expect(code, stderr).toBe(0);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

beforeAll(async () => {
  await buildCli();
  const trained = await cre(["train", recipe, "--run", run, ...BOTH, ...LEARNS]);
  expect(trained.code, trained.stderr).toBe(0);
});
afterAll(() => temporary.remove());

describe("a run with prompts that are read in both directions", () => {
  it("keeps the choice in its recipe and its model", () => {
    expect(readFileSync(join(run, "recipe.yaml"), "utf8")).toContain("attention: both");
    const config = JSON.parse(readFileSync(join(run, "model", "config.json"), "utf8"));
    expect(config.prompt_attention).toBe("both");
  });

  it("is evaluated and extracted with it, by labels as by generation", async () => {
    const { code, stdout, stderr } = await cre(["evaluate", run, "--json", "-"]);
    expect(code, stderr).toBe(0);
    // Read causally, the same training comes to 0.5.
    expect(JSON.parse(stdout).conventions.micro.f1).toBeGreaterThan(0.85);
    const relations = toyRows(12, 9).map((row) => row.relations[0]);
    const byLabels = await extracted();
    const byGeneration = await extracted("method: labels", "method: generate");
    for (const lines of [byLabels, byGeneration]) {
      const right = lines.filter(({ predictions }, i) => predictions[0]?.relation === relations[i]);
      expect(right.length).toBeGreaterThanOrEqual(11);
    }
    expect(byGeneration.map(({ predictions }) => predictions[0])).toEqual(
      byLabels.map(({ predictions }) => predictions[0]),
    );
  });

  it("reads them otherwise once the recipe says causal", async () => {
    const both = await extracted();
    expect(await extracted("attention: both", "attention: causal")).not.toEqual(both);
    expect(await extracted()).toEqual(both);
  });

  it.each(["merged", "gguf", "peft", "gguf-lora"])("is not exported to %s", async (kind) => {
    const output = file(`export-${kind}`);
    const { code, stderr } = await cre(["export", run, "--to", kind, "--output", output]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${run}: cannot be exported to ${kind}: prompt.attention "both" has no counterpart there`);
    expect(existsSync(output)).toBe(false);
  });

  it("is told from a recipe that begins with its model and reads causally", async () => {
    const onto = ["--set", `model={path: ${join(run, "model")}, storage: float32}`, "--set", "train.epochs=0.25"];
    const causal = await cre(["train", recipe, "--run", file("causal"), ...onto]);
    expect(causal.code, causal.stderr).toBe(0);
    expect(causal.stderr).toContain('was trained with prompt.attention "both"; this recipe reads its prompts causally');
    const both = await cre(["train", recipe, "--run", file("both"), ...onto, ...BOTH]);
    expect(both.code, both.stderr).toBe(0);
    expect(both.stderr).not.toContain("prompt.attention");
    // What leaves a causal run is causal.
    const exported = await cre(["export", file("causal"), "--to", "merged"]);
    expect(exported.code, exported.stderr).toBe(0);
    const config = JSON.parse(readFileSync(join(file("causal"), "export", "merged", "config.json"), "utf8"));
    expect(config.prompt_attention).toBeUndefined();
  });
});

describe("mistakes", () => {
  it("are reported before anything is read", async () => {
    const wrong = await cre(["train", recipe, "--run", file("wrong"), "--set", "prompt.attention=bidirectional"]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/prompt\.attention .*causal.*both/);
    const loss = await cre(["train", recipe, "--run", file("wrong"), ...BOTH, "--set", "train.promptLoss=0.1"]);
    expect(loss.code).toBe(1);
    expect(loss.stderr).toContain('train.promptLoss: is 0.1, expected 0 with prompt.attention "both"');
    expect(existsSync(file("wrong"))).toBe(false);
  });
});
