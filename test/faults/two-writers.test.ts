import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { done, expectDone, expectMistake, HANG_MS, mistake } from "../cases/outcome.ts";
import { copyOf, runOnBase, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, type Outcome, temporaryFolder, toyRows } from "../e2e/support.ts";

// Two processes with one output: one refuses, and the output is that of the other. Nothing is deleted that the program did not make.

const temporary = temporaryFolder("writers");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
/** More than one window of 512 rows. */
const COUNT = 900;
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
  writeFileSync(ROWS, jsonl(toyRows(COUNT, 3)));
}, 120_000);
afterAll(() => temporary.remove());

/** One of two outcomes is done, the other a mistake that says that the output is in use (or there already). */
function expectOneRefused(outcomes: readonly Outcome[], path: string): void {
  const codes = outcomes.map(({ code }) => code).sort();
  const shown = outcomes.map(({ code, stderr }) => `${code}: ${stderr.slice(-300)}`).join("\n");
  expect(codes, shown).toEqual([0, 1]);
  expectMistake(outcomes.find(({ code }) => code === 1) as Outcome, [
    path,
    /in use|exists already|holds a run|not empty/,
  ]);
}

describe("two extractions with one output", () => {
  it.each([
    ["that is new", []],
    ["that is replaced", ["--overwrite"]],
  ])(
    "%s",
    async (name, options) => {
      const whole = (await done(["extract", toys.run, ROWS])).stdout;
      const output = file(`found-${options.length}.jsonl`);
      if (options.length > 0) writeFileSync(output, "old\n");
      const command = ["extract", toys.run, ROWS, "--output", output, ...options];
      const outcomes = await Promise.all([cre(command, { timeoutMs: HANG_MS }), cre(command, { timeoutMs: HANG_MS })]);
      expect(readFileSync(output, "utf8") === whole, `${name}: the output is not that of one extraction`).toBe(true);
      expectOneRefused(outcomes, output);
      expect([".part", ".part.json", ".lock"].filter((end) => existsSync(output + end))).toEqual([]);
    },
    120_000,
  );

  it("the second of which begins when the first has rows", async () => {
    const output = file("late.jsonl");
    const command = ["extract", toys.run, ROWS, "--output", output];
    const first = cre(command, { timeoutMs: HANG_MS });
    while ((statSync(`${output}.part`, { throwIfNoEntry: false })?.size ?? 0) === 0 && !existsSync(output))
      await sleep(5);
    const second = await cre(command, { timeoutMs: HANG_MS });
    expectOneRefused([await first, second], output);
    expect(readFileSync(output, "utf8").trimEnd().split("\n")).toHaveLength(COUNT);
  }, 120_000);

  it("reached by two names", async () => {
    mkdirSync(file("names"));
    const names = [file("names/one.jsonl"), file("names/../names/one.jsonl")];
    const outcomes = await Promise.all(
      names.map((output) => cre(["extract", toys.run, ROWS, "--output", output], { timeoutMs: HANG_MS })),
    );
    expect(outcomes.map(({ code }) => code).sort()).toEqual([0, 1]);
    expect(readFileSync(names[0], "utf8").trimEnd().split("\n")).toHaveLength(COUNT);
  }, 120_000);
});

describe("two writers of one folder", () => {
  it("train: one refuses, and the run is whole", async () => {
    const run = file("run");
    const command = ["train", toys.recipe, "--run", run, "--set", "train.epochs=4"];
    const outcomes = await Promise.all([cre(command, { timeoutMs: HANG_MS }), cre(command, { timeoutMs: HANG_MS })]);
    expectOneRefused(outcomes, run);
    const steps = readFileSync(join(run, "log.jsonl"), "utf8").match(/"kind":"step"/g);
    expect(steps).toHaveLength(16);
    await done(["extract", run, "-"], { input: jsonl(toyRows(1, 1)) });
  }, 120_000);

  it.each(["merged", "gguf"])(
    "export --to %s: what is there is whole",
    async (to) => {
      const output = file(`export-${to}`);
      const command = ["export", toys.run, "--to", to, "--output", output];
      await Promise.all([cre(command), cre(command)]);
      const [model] = to === "merged" ? [output] : [join(output, "run-F32.gguf")];
      await done(["model", "info", model]);
      const again = file(`export-${to}-alone`);
      await done(["export", toys.run, "--to", to, "--output", again]);
      const name = to === "merged" ? "model.safetensors" : "run-F32.gguf";
      expect(readFileSync(join(output, name)).equals(readFileSync(join(again, name)))).toBe(true);
    },
    120_000,
  );
});

describe("cre demo", () => {
  it("does not replace a run that is being trained", async () => {
    const run = file("living");
    const living = cre(["train", toys.recipe, "--run", run, "--set", "train.epochs=24"], { timeoutMs: 4 * HANG_MS });
    while (!existsSync(join(run, "log.jsonl"))) await sleep(10);
    const demo = await cre(["demo", "--run", run], { timeoutMs: 8000 });
    const trained = await living;
    expectDone(trained);
    expect(existsSync(join(run, "done.json"))).toBe(true);
    expectMistake(demo, [run]);
  }, 180_000);

  it("does not delete a folder that it did not make", async () => {
    const ours = copyOf(toys.run, file("kept-run"));
    writeFileSync(join(ours, "notes.txt"), "mine");
    const other = file("kept-folder");
    mkdirSync(other);
    writeFileSync(join(other, "recipe.yaml"), "my: cake\n");
    writeFileSync(join(other, "thesis.txt"), "mine");
    for (const [folder, name] of [
      [ours, "notes.txt"],
      [ours, "model/model.safetensors"],
      [other, "thesis.txt"],
    ]) {
      const outcome = await cre(["demo", "--run", folder], { timeoutMs: 8000 });
      expect(existsSync(join(folder, name)), `${name} was deleted`).toBe(true);
      expectMistake(outcome, [folder]);
    }
  }, 120_000);
});

describe("models that are there", () => {
  it("are not overwritten by model init, export or a tokenizer", async () => {
    const text = file("text.txt");
    writeFileSync(text, Array.from({ length: 60 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n"));
    const base = copyOf(toys.base, file("base"));
    const before = ["model.safetensors", "tokenizer.model"].map((name) => readFileSync(join(base, name)));
    for (const command of [
      ["model", "init", toys.recipe, "--output", base],
      ["export", toys.run, "--to", "merged", "--output", base],
      ["tokenizer", "train", text, "--output", base, "--pieces", "300"],
    ]) {
      const outcome = await cre(command, { timeoutMs: HANG_MS });
      const after = ["model.safetensors", "tokenizer.model"].map((name) => readFileSync(join(base, name)));
      expect(
        after.every((bytes, i) => bytes.equals(before[i])),
        `${command.join(" ")} overwrote it`,
      ).toBe(true);
      expectMistake(outcome, [base]);
    }
  }, 120_000);

  it("nor is a run's own adapter, or the base of a run", async () => {
    const base = copyOf(toys.base, file("base-of-run"));
    const run = runOnBase(toys.loraRun, file("lora"), base);
    await mistake(["export", run, "--to", "peft", "--output", run], [run]);
    await mistake(["export", run, "--to", "merged", "--output", base], [base]);
  });
});
