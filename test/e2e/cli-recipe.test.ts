import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { readRecipe } from "../../src/recipe/read.ts";
import {
  buildCli,
  cre,
  jsonl,
  ROOT,
  temporaryFolder,
  toyRecipe,
  toyRows,
  writeRecipe,
  writeToyData,
} from "./support.ts";

const temporary = temporaryFolder("cli-recipe");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("toys"));
const shipped = (name: string) => join(ROOT, "recipes", `${name}.yaml`);

beforeAll(buildCli);
afterAll(() => temporary.remove());

async function shown(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await cre(["recipe", "show", ...command]);
  expect(code, stderr).toBe(0);
  return stdout;
}

describe("cre recipe show", () => {
  it("prints a shipped recipe with a comment over every value, and the output is that recipe", async () => {
    const text = await shown("finre-base");
    writeFileSync(file("again.yaml"), text);
    expect(await readRecipe(file("again.yaml"))).toEqual(await readRecipe(shipped("finre-base")));
    expect(text).toContain("# LoRA as in the paper");
    expect(text).toContain("  # Highest learning rate. [number above 0; default 0.0002]\n  learningRate: 0.002\n");
    expect(await shown(shipped("finre-base"))).toBe(text);
  });

  it("lists the shipped recipes and prints the default for some data", async () => {
    const text = await shown("--data", data);
    expect(text).toMatch(/^# Shipped recipes; .*\n#\n# base-zh {2,}The embedded Chinese base model/);
    for (const name of ["demo", "finre-base-all", "minimal", "sanwen-llama2-lora"])
      expect(text).toContain(`\n# ${name} `);
    expect(text).toContain("# defaults for 16 training rows: those of recipes/demo-small.yaml\n");
    const recipe = parse(text);
    expect(recipe.data.path).toBe(data);
    expect(recipe.train).toMatchObject({ epochs: 100, batchExamples: 32 });
    expect(recipe.decode.bothDirections).toBe(true);
  });

  it("explains a recipe for pretraining, a short file, and as JSON", async () => {
    const pretraining = await shown("base-zh");
    expect(parse(pretraining).data.sources.prose.weight).toBe(0.48);
    expect(pretraining).toContain("  # Updates in all. [whole number from 1 to 1000000000]\n  steps: 9000\n");
    const short = writeRecipe(file("short.yaml"), { data: { path: "toys" }, train: { epochs: 3 } });
    const { values } = JSON.parse(await shown(short, "--json"));
    const valueNamed = (key: string) => values.find((one: { key: string }) => one.key === key);
    expect(valueNamed("train.epochs")).toEqual({
      key: "train.epochs",
      description: expect.stringContaining("Passes over the training rows"),
      allowed: "number above 0 up to 1000000",
      default: 100,
      value: 3,
    });
    expect(valueNamed("data.path").value).toBe(data);
    const { recipes } = JSON.parse(await shown("--json"));
    expect(recipes).toContainEqual({ name: "minimal", about: "The shortest recipe: where the data is" });
  });

  it("says what it does not know", async () => {
    const { code, stderr } = await cre(["recipe", "show", "finre-bse"]);
    expect(code).toBe(1);
    expect(stderr).toContain(
      "finre-bse: is no recipe, expected a file, a run folder or one of base-zh, base-zh-gpu, base-zh-wide, demo,",
    );
    expect(stderr).toContain("Did you mean finre-base?");
  });
});

describe("cre train without a whole recipe", () => {
  it("says what to do without recipe and data", async () => {
    const { code, stderr } = await cre(["train"]);
    expect(code).toBe(1);
    expect(stderr).toContain("cre train: got neither a recipe nor data, expected one of them.");
    expect(stderr).toContain("cre train --data DIR chooses good settings for the data");
  });

  it("trains on a data folder with the defaults, into a run named after it that holds every value", async () => {
    const steps = ["--set", "train.epochs=1", "--set", "train.validateEvery=0"];
    const trained = await cre(["train", "--data", data, ...steps], { cwd: temporary.path });
    expect(trained.code, trained.stderr).toBe(0);
    expect(trained.stderr).toContain("defaults for 16 training rows: those of recipes/demo-small.yaml");
    const run = file(join("runs", "toys"));
    const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
    expect(recipe.train).toMatchObject({ epochs: 1, batchExamples: 32, learningRate: 0.0015, tokenNoise: 0.15 });
    expect(recipe.model.tokenizer).toBe(join(ROOT, "models", "small-zh"));
    expect(recipe.data.path).toBe(data);
    expect(await shown(run)).toContain("\n  epochs: 1\n");
  });

  it("reports a data folder that is not there", async () => {
    const { code, stderr } = await cre(["train", "--data", file("nowhere")]);
    expect(code).toBe(1);
    expect(stderr).toContain(`The recipe: 1 problem:\n  - data.path: ${file("nowhere")} does not exist`);
  });
});

describe("cre prompt", () => {
  it("shows a row of a finished run as its own recipe does", async () => {
    const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
    const trained = await cre(["train", recipe, "--run", file("run"), "--set", "train.epochs=0.5"]);
    expect(trained.code, trained.stderr).toBe(0);
    const [ofRun, ofRecipe] = [
      await cre(["prompt", file("run"), "--row", "2", "--json"]),
      await cre(["prompt", recipe, "--row", "2", "--json"]),
    ];
    expect(ofRun.code, ofRun.stderr).toBe(0);
    expect(JSON.parse(ofRun.stdout)).toEqual(JSON.parse(ofRecipe.stdout));
    const piped = await cre(["prompt", file("run"), "-"], { input: jsonl(toyRows(1, 9)) });
    expect(piped.stdout).toContain("standard input, row 1\nsentence  0日");
    expect(piped.stdout).toMatch(/Answers {2}4 labels with text and ids; ● gold\n/);
  });
});
