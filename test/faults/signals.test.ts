import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { done } from "../cases/outcome.ts";
import { copyOf, type ToyRuns, toyRuns } from "../cases/toy-runs.ts";
import { cre, jsonl, temporaryFolder, toyRows } from "../e2e/support.ts";

// SIGINT, SIGTERM and SIGHUP stop in good order: what was done is kept, the next step is said, the exit code is 128 + the signal.

const temporary = temporaryFolder("signals");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
const SIGNALS = [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const;
let toys: ToyRuns;
let whole: string;
let found: string;

const SET = ["train.epochs=8", "train.validateEvery=2"].flatMap((value) => ["--set", value]);

beforeAll(async () => {
  toys = await toyRuns();
  whole = file("whole");
  await done(["train", toys.recipe, "--run", whole, ...SET]);
  writeFileSync(ROWS, jsonl(toyRows(1100, 3)));
  found = (await done(["extract", toys.run, ROWS])).stdout;
}, 120_000);
afterAll(() => temporary.remove());

describe.each(SIGNALS)("%s", (signal, expected) => {
  it("saves a checkpoint of a training, says how to resume, and loses nothing", async () => {
    const run = file(`train-${signal}`);
    const log = join(run, "log.jsonl");
    const { code, stderr } = await cre(["train", toys.recipe, "--run", run, ...SET], {
      kill: { when: () => existsSync(log) && readFileSync(log, "utf8").split("\n").length > 5, signal },
    });
    expect(code, stderr).toBe(expected);
    expect(stderr).toContain(`cre train --resume --run ${run}`);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(existsSync(join(run, "run.lock"))).toBe(false);
    const resumed = await done(["train", "--resume", "--run", run]);
    expect(resumed.stderr).toMatch(/after step [1-9]/);
    const weights = [run, whole].map((directory) => readFileSync(join(directory, "model/model.safetensors")));
    expect(weights[0].equals(weights[1])).toBe(true);
  }, 120_000);

  it("keeps the rows of an extraction, and says that the same call resumes it", async () => {
    const output = file(`found-${signal}.jsonl`);
    const command = ["extract", toys.run, ROWS, "--output", output];
    const { code, stderr } = await cre(command, {
      kill: { when: () => (statSync(`${output}.part`, { throwIfNoEntry: false })?.size ?? 0) > 0, signal },
    });
    expect(code, stderr).toBe(expected);
    expect(stderr).toMatch(/stopped/);
    expect(stderr).toMatch(/same (call|command)|resume|go on|continue/i);
    const resumed = await done(command);
    expect(resumed.stderr).toContain("done before");
    expect(readFileSync(output, "utf8") === found).toBe(true);
  }, 120_000);

  it("ends an extraction to standard output and an evaluation with its code, without a stack", async () => {
    const many = file("many.jsonl");
    if (!existsSync(many)) writeFileSync(many, jsonl(toyRows(8000, 3)));
    const started = Date.now();
    const extracted = await cre(["extract", toys.run, many], {
      kill: { when: () => Date.now() - started > 1800, signal },
    });
    expect([extracted.code, extracted.signal], extracted.stderr).toContainEqual(extracted.signal ? signal : expected);
    expect(extracted.stderr).not.toMatch(/\n\s+at /);
    const lines = extracted.stdout.split("\n").slice(0, -1);
    expect(lines.every((line) => line.endsWith("}"))).toBe(true);
  }, 120_000);
});

describe("a signal before the work begins", () => {
  it("leaves no run behind", async () => {
    const run = file("early");
    const { code, signal } = await cre(["train", toys.recipe, "--run", run], {
      kill: { when: () => true, afterMs: 150, signal: "SIGTERM" },
    });
    expect(code === 143 || signal === "SIGTERM" || code === 0).toBe(true);
    if (code !== 0) expect(existsSync(join(run, "run.lock"))).toBe(false);
  });

  it("does not spoil a run that is evaluated", async () => {
    const run = copyOf(toys.run, file("evaluated"));
    await cre(["evaluate", run], { kill: { when: () => true, afterMs: 600, signal: "SIGTERM" } });
    await done(["evaluate", run]);
  });
});
