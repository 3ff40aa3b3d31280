import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, jsonl, temporaryFolder, toyRecipe, toyRows, writeRecipe, writeToyData } from "./support.ts";

// The linear companion of a run from outside. Two epochs leave the language model worse than its companion.

const temporary = temporaryFolder("cli-companion");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("data"));
const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
const run = file("run");
const FILES = ["companion.bin", "companion.json"];
let trained = "";

beforeAll(async () => {
  await buildCli();
  // More rows than the toy set has: n-grams need some that recur.
  writeFileSync(join(data, "train.jsonl"), jsonl(toyRows(48, 1)));
  writeFileSync(join(data, "valid.jsonl"), jsonl(toyRows(24, 2)));
  writeFileSync(join(data, "test.jsonl"), jsonl(toyRows(24, 3)));
  const { code, stderr } = await cre(["train", recipe, "--run", run, "--set", "train.validateEvery=1"]);
  expect(code, stderr).toBe(0);
  trained = stderr;
});
afterAll(() => temporary.remove());

async function metricsOf(...options: string[]) {
  const { code, stdout, stderr } = await cre(["evaluate", run, "--json", "-", ...options]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

describe("a run with a companion", () => {
  it("tells the floor before the first step, and at the end what the validation rows say", () => {
    expect(trained).toMatch(/linear companion: trained on 48 rows in .*; validation micro F1 \d+\.\d, paper F1/);
    expect(trained.indexOf("linear companion")).toBeLessThan(trained.indexOf("training rows;"));
    expect(trained).toMatch(
      /with the companion \(weight \d\.\d\d\): micro F1 .* → .*, paper F1 .* → .*mixed in from now on/,
    );
    const { rows, validation } = JSON.parse(readFileSync(join(run, "companion.json"), "utf8"));
    expect(rows).toBe(48);
    expect(validation).toMatchObject({ rows: 24, gains: true });
  });

  it("is evaluated with the mixture, next to the floor and the model alone", async () => {
    const mixed = await metricsOf();
    const { companion, conventions } = mixed;
    expect(companion.mixture.weight).toBeGreaterThan(0);
    expect(companion.mixed.conventions).toEqual(conventions);
    expect(conventions.micro.f1).toBeGreaterThan(companion.model.conventions.micro.f1);
    expect(companion.linear.conventions.micro.f1).toBeGreaterThan(0.5);
    const names = mixed.references.map(({ name }: { name: string }) => name);
    expect(names.slice(0, 2)).toEqual(["linear floor", "model alone"]);
    const table = await cre(["evaluate", run]);
    expect(table.stdout).toMatch(/linear floor +model alone/);
    expect(readFileSync(join(run, "report.html"), "utf8")).toContain("<th>linear floor</th><th>model alone</th>");

    const alone = await metricsOf("--companion", "0");
    expect(alone.conventions).toEqual(companion.model.conventions);
    expect(alone.companion).toMatchObject({ mixture: null, linear: companion.linear, mixed: companion.mixed });
    expect(alone.references[1]).toMatchObject({ name: "mixed", f1: { micro: conventions.micro.f1 } });
    const other = await metricsOf("--companion", "1");
    expect(other.companion.mixture).toEqual({ weight: 1, temperature: 1 });
    expect(other.conventions.micro).toEqual(companion.linear.conventions.micro);
  });

  it("extracts as it is evaluated", async () => {
    const predictions = file("found.jsonl");
    expect((await cre(["extract", run, join(data, "test.jsonl"), "--output", predictions])).code).toBe(0);
    const scored = await cre(["score", predictions, "--gold", data, "--json", "-"]);
    expect(JSON.parse(scored.stdout).conventions).toEqual((await metricsOf()).conventions);
    const found = JSON.parse(readFileSync(predictions, "utf8").split("\n")[0]).predictions;
    const [alone] = (await cre(["extract", run, join(data, "test.jsonl"), "--companion", "0"])).stdout.split("\n");
    expect(JSON.parse(alone).predictions).not.toEqual(found);
  });

  it("refuses a weight that is none, and a companion that is damaged, gone, or of other labels", async () => {
    const wrong = await cre(["evaluate", run, "--companion", "2"]);
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("expected auto or a number from 0 to 1") });
    const broken = file("broken");
    const damages: [(directory: string) => void, string][] = [
      [(own) => writeFileSync(join(own, FILES[0]), readFileSync(join(own, FILES[0])).fill(1, 200, 204)), FILES[0]],
      [
        (own) => writeFileSync(join(own, FILES[1]), readFileSync(join(own, FILES[1]), "utf8").replace("48", "47")),
        FILES[1],
      ],
      [(own) => rmSync(join(own, FILES[0])), FILES[0]],
      [(own) => FILES.map((name) => rmSync(join(own, name))), FILES[0]],
    ];
    for (const [damage, name] of damages) {
      cpSync(run, broken, { recursive: true });
      damage(broken);
      const { code, stderr } = await cre(["extract", broken, join(data, "test.jsonl")]);
      expect(code, stderr).toBe(1);
      expect(stderr).toContain(join(broken, name));
    }
  });
});

describe("a run without a companion", () => {
  const without = file("without");
  beforeAll(async () => {
    const set = ["--set", "train.validateEvery=1", "--set", "decode.companion=none"];
    const { code, stderr } = await cre(["train", recipe, "--run", without, ...set]);
    expect(code, stderr).toBe(0);
    expect(stderr).not.toMatch(/linear companion|with the companion/);
  });

  it("has the same weights and no companion", async () => {
    const weights = [run, without].map((directory) => readFileSync(join(directory, "model", "model.safetensors")));
    expect(weights[0].equals(weights[1])).toBe(true);
    for (const name of FILES) expect(existsSync(join(without, name))).toBe(false);
    const evaluated = await cre(["evaluate", without, "--json", "-"]);
    expect(JSON.parse(evaluated.stdout).conventions).toEqual((await metricsOf("--companion", "0")).conventions);
    expect(JSON.parse(evaluated.stdout)).not.toHaveProperty("companion");
    expect(evaluated.stderr).not.toContain("linear companion");
    const asked = await cre(["extract", without, join(data, "test.jsonl"), "--companion", "0.3"]);
    expect(asked).toMatchObject({ code: 1, stderr: expect.stringContaining("has no linear companion") });
  });

  it("says so when an older version trained it", async () => {
    const old = file("old");
    cpSync(without, old, { recursive: true });
    const text = readFileSync(join(old, "recipe.yaml"), "utf8");
    writeFileSync(join(old, "recipe.yaml"), text.replace("  companion: none\n", ""));
    const { code, stderr } = await cre(["evaluate", old]);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain("note: the run has no linear companion, since it was trained by an older version");
  });
});
