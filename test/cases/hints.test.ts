import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, ROOT, temporaryFolder, toyRows } from "../e2e/support.ts";
import { done, HANG_MS, mistake } from "./outcome.ts";
import { copyOf, dataFolder, type ToyRuns, toyRuns } from "./toy-runs.ts";

const temporary = temporaryFolder("hints");
const file = (name: string) => join(temporary.path, name);
let toys: ToyRuns;
let gguf: string;

beforeAll(async () => {
  toys = await toyRuns();
  await done(["export", toys.run, "--to", "gguf", "--output", file("gguf")]);
  gguf = file("gguf/run-F32.gguf");
}, 120_000);
afterAll(() => temporary.remove());

const POINTER =
  "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 13476838000\n";

describe("case B21: Git LFS pointers instead of files", () => {
  const SAYS = [/Git LFS pointer/i, "git lfs pull"];
  const generate = (path: string) => ["model", "generate", path, "--prompt", "甲", "--max-new-tokens", "1"];

  /** A folder with one of its files replaced by a pointer. */
  function spoiled(from: string, name: string): string {
    const copy = file(`pointer-${name}`);
    cpSync(from, copy, { recursive: true });
    writeFileSync(join(copy, name), POINTER);
    return copy;
  }

  it.each(["model.safetensors", "tokenizer.model", "config.json"])("%s of a model folder", async (name) => {
    const copy = spoiled(toys.base, name);
    await mistake(generate(copy), [name, ...SAYS]);
    if (name !== "tokenizer.model") await mistake(["model", "info", copy], [name, ...SAYS]);
    else await mistake(["tokenize", copy], [name, ...SAYS], { input: "甲\n" });
    const set = ["--set", `model.path=${copy}`];
    await mistake(["train", toys.loraRecipe, ...set, "--run", file("never")], [name, ...SAYS]);
  });

  it("a sharded model, a PyTorch file, a GGUF file, tokenizer.json", async () => {
    const sharded = file("sharded");
    cpSync(toys.base, sharded, { recursive: true });
    const index = { metadata: {}, weight_map: { "model.embed_tokens.weight": "model-00001-of-00001.safetensors" } };
    writeFileSync(join(sharded, "model.safetensors.index.json"), JSON.stringify(index));
    writeFileSync(join(sharded, "model-00001-of-00001.safetensors"), POINTER);
    writeFileSync(join(sharded, "model.safetensors"), POINTER);
    await mistake(["model", "info", sharded], SAYS);
    const bin = file("bin");
    mkdirSync(bin);
    cpSync(join(toys.base, "config.json"), join(bin, "config.json"));
    cpSync(join(toys.base, "tokenizer.model"), join(bin, "tokenizer.model"));
    writeFileSync(join(bin, "pytorch_model.bin"), POINTER);
    await mistake(["model", "info", bin], ["pytorch_model.bin", ...SAYS]);
    writeFileSync(file("pointer.gguf"), POINTER);
    await mistake(["model", "info", file("pointer.gguf")], ["pointer.gguf", ...SAYS]);
    mkdirSync(file("json"));
    writeFileSync(join(file("json"), "tokenizer.json"), POINTER);
    await mistake(["tokenize", file("json")], ["tokenizer.json", ...SAYS], { input: "甲\n" });
  });

  it("an adapter, labels, rows, predictions", async () => {
    const run = spoiled(toys.loraRun, "adapter_model.safetensors");
    await mistake(["extract", run, "-"], ["adapter_model.safetensors", ...SAYS], { input: jsonl(toyRows(1, 1)) });
    const rows = { train: toyRows(2, 1), test: toyRows(2, 1) };
    await mistake(
      ["data", "stats", dataFolder(file("p1"), { ...rows, "labels.json": POINTER })],
      ["labels.json", ...SAYS],
    );
    await mistake(["data", "stats", dataFolder(file("p2"), { ...rows, train: POINTER })], ["train.jsonl", ...SAYS]);
    writeFileSync(file("pointer.jsonl"), POINTER);
    await mistake(["extract", toys.run, file("pointer.jsonl")], ["pointer.jsonl", ...SAYS]);
    await mistake(["score", file("pointer.jsonl")], ["pointer.jsonl", ...SAYS]);
    writeFileSync(file("recipe.yaml"), POINTER);
    await mistake(["train", file("recipe.yaml")], ["recipe.yaml", ...SAYS]);
  });
});

describe("case B24: names of a hub, and ~", () => {
  const HUB = "Qwen/Qwen2-0.5B";

  it.each([
    ["train", () => ["train", toys.loraRecipe, "--set", `model.path=${HUB}`, "--run", file("never")]],
    ["train, the tokenizer", () => ["train", toys.recipe, "--set", `model.tokenizer=${HUB}`, "--run", file("never")]],
    ["model info", () => ["model", "info", HUB]],
    ["model generate", () => ["model", "generate", HUB, "--prompt", "甲"]],
    ["tokenize", () => ["tokenize", HUB]],
    ["model init", () => ["model", "init", "--family", "qwen2", "--tokenizer", HUB, "--output", file("never")]],
  ])("%s of a hub name says that it must be downloaded first", async (_, command) => {
    await mistake(command(), [HUB, /download/i, /hub|Hugging Face/i], { cwd: ROOT });
  });

  it.each([
    ["train", () => ["train", toys.loraRecipe, "--set", "model.path=~/models/x", "--run", file("never")]],
    ["train --data", () => ["train", toys.recipe, "--data", "~/data", "--run", file("never")]],
    ["model info", () => ["model", "info", "~/models/x"]],
    ["tokenize", () => ["tokenize", "~/models/x"]],
    ["evaluate", () => ["evaluate", "~/runs/x"]],
    ["extract, its rows", () => ["extract", toys.run, "~/rows.jsonl"]],
    ["score", () => ["score", "~/predictions.jsonl"]],
    ["data stats", () => ["data", "stats", "~/data"]],
    ["export --output", () => ["export", toys.run, "--to", "merged", "--output", "~/out"]],
  ])("%s of a path with ~ says that nobody expanded it", async (_, command) => {
    const { stderr } = await mistake(command(), ["~"], { cwd: file("gguf") });
    expect(stderr).toMatch(/"~"|'~'|~ is|home/);
  });

  it("a path of --set says from where it was read", async () => {
    const { stderr } = await mistake(
      ["train", toys.loraRecipe, "--set", "model.path=no/such/model/here", "--run", file("never")],
      ["no/such/model/here"],
      { cwd: temporary.path },
    );
    // Read from the working folder, or with a word on the folder that it is read from.
    expect(stderr).toMatch(new RegExp(`${temporary.path}/no/such|relative to|read from|folder of the recipe`));
    cpSync(toys.base, file("here/base"), { recursive: true });
    const command = ["train", toys.loraRecipe, "--set", "model.path=here/base", "--set", "train.epochs=0.25"];
    const outcome = await cre([...command, "--run", file("from-here")], { cwd: temporary.path, timeoutMs: HANG_MS });
    if (outcome.code !== 0) expect(outcome.stderr).toMatch(/relative to|read from|folder of the recipe/);
  });
});

describe("escape sequences do not reach the terminal", () => {
  const ESCAPE = "\u001b]0;gotcha\u0007\u001b[2J\u009b31m";
  const RAW = /(?![\n\t])\p{Cc}/u;

  const CASES: [string, () => string[], string?][] = [
    ["a row", () => ["extract", toys.run, "-"], `${ESCAPE}\n${jsonl(toyRows(1, 1))}`],
    [
      "an entity",
      () => ["extract", toys.run, "-"],
      jsonl([{ sentence: "甲乙", head: ESCAPE, tail: "乙" }, ...toyRows(1, 1)]),
    ],
    ["a key of a recipe", () => ["train", recipeWith({ [ESCAPE]: 1 })]],
    ["a value of a recipe", () => ["train", recipeWith({ seed: ESCAPE })]],
    ["a broken recipe", () => ["train", written("broken.yaml", `a: [${ESCAPE}\n`)]],
    ["--set", () => ["train", toys.recipe, "--set", `${ESCAPE}=1`]],
    ["a path", () => ["evaluate", `no${ESCAPE}run`]],
    ["an option", () => ["train", `--no${ESCAPE}`]],
    ["a command", () => [`no${ESCAPE}`]],
    ["a label", () => ["data", "stats", labelled({ labels: ["a", ESCAPE], symmetric: [`${ESCAPE}2`] })]],
    [
      "a relation",
      () => ["data", "stats", dataFolder(file("e1"), { train: [{ ...toyRows(1, 1)[0], relations: [ESCAPE] }] })],
    ],
    ["a key of predictions", () => ["score", written("keys.jsonl", jsonl([{ [ESCAPE]: 1 }]))]],
    ["a value of predictions", () => ["score", written("values.jsonl", jsonl([{ label: ESCAPE, predict: ESCAPE }]))]],
    ["config.json", () => ["model", "info", configured({ model_type: ESCAPE })]],
    ["a value of config.json", () => ["model", "info", configured({ hidden_act: ESCAPE })]],
    ["an environment variable", () => ["model", "info", toys.base]],
  ];

  const written = (name: string, content: string) => {
    writeFileSync(file(name), content);
    return file(name);
  };
  const recipeWith = (values: Record<string, unknown>) =>
    written(
      "escape.yaml",
      `${readFileSync(toys.recipe, "utf8").replace(/^seed:.*$/m, "")}\n${JSON.stringify(values).slice(1, -1)}\n`,
    );
  const labelled = (labels: unknown) =>
    dataFolder(file("e2"), { train: toyRows(1, 1), "labels.json": JSON.stringify(labels) });
  function configured(values: Record<string, unknown>): string {
    const copy = copyOf(toys.base, file(`config-${Object.keys(values)}`));
    const config = JSON.parse(readFileSync(join(copy, "config.json"), "utf8"));
    writeFileSync(join(copy, "config.json"), JSON.stringify({ ...config, ...values }));
    return copy;
  }

  it.each(CASES)("in %s", async (name, command, input) => {
    const env = name.startsWith("an environment") ? { CRE_CPU: ESCAPE, CRE_BACKEND: ESCAPE } : undefined;
    const { stderr, stdout } = await cre(command(), { input, env, timeoutMs: HANG_MS });
    expect(stderr).not.toMatch(RAW);
    expect(stdout).not.toMatch(RAW);
  });

  it("in the tables of score and data stats", async () => {
    const relation = `收购${ESCAPE}`;
    const rows = [{ sentence: "甲乙", head: "甲", tail: "乙", relations: [relation] }];
    const gold = written("gold.jsonl", jsonl(rows));
    const { stdout } = await cre(["score", gold, "--gold", gold]);
    expect(stdout).not.toMatch(RAW);
    const folder = dataFolder(file("e3"), { train: rows, "labels.json": JSON.stringify({ labels: [relation] }) });
    expect((await cre(["data", "stats", folder])).stdout).not.toMatch(RAW);
  });
});

describe("the program itself", () => {
  it("says its version", async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const option of ["--version", "-V"]) expect((await done([option])).stdout.trim()).toContain(version);
  });

  it("shows a GGUF file by its name when it is not one", async () => {
    writeFileSync(gguf, "no GGUF");
    await mistake(["model", "info", gguf], [gguf]);
  });
});
