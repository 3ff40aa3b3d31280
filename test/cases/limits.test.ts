import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { cre, jsonl, temporaryFolder, toyRows, writeRecipe } from "../e2e/support.ts";
import { done, HANG_MS, mistake, parsedLines } from "./outcome.ts";
import { copyOf, dataFolder, LABELS, type ToyRuns, toyRuns } from "./toy-runs.ts";

const temporary = temporaryFolder("limits");
const file = (name: string) => join(temporary.path, name);
let toys: ToyRuns;

beforeAll(async () => {
  toys = await toyRuns();
}, 120_000);
afterAll(() => temporary.remove());

const train = (data: string, run: string, ...set: string[]) => [
  ...["train", toys.recipe, "--data", data, "--run", run],
  ...set.flatMap((value) => ["--set", value]),
];

describe("case B17: labels that cannot be answered with", () => {
  const LONG = "一个从来没有在训练数据里出现过而且名字特别长的关系标签用来说明它会被提前检查出来";
  const withLabels = (...labels: string[]) => JSON.stringify({ ...LABELS, labels: [...LABELS.labels, ...labels] });

  it.each([true, false])("too long for prompt.maxAnswerTokens, with validation rows: %s", async (hasValid) => {
    const rows = { train: toyRows(8, 1), ...(hasValid ? { valid: toyRows(4, 2) } : {}) };
    const folder = dataFolder(file(`long-${hasValid}`), { ...rows, "labels.json": withLabels(LONG) });
    const run = file(`long-run-${hasValid}`);
    const { stderr } = await mistake(train(folder, run), [LONG, "labels.json", "maxAnswerTokens"]);
    expect(stderr).not.toContain("training rows");
    expect(existsSync(run)).toBe(false);
  });

  it("too long after the labels of a run were changed: one message instead of a bad row each", async () => {
    const run = copyOf(toys.run, file("changed-labels"));
    writeFileSync(join(run, "labels.json"), withLabels(LONG));
    // With its checksum, a changed file is refused before it is read.
    rmSync(join(run, "checksums.json"));
    // A companion knows its labels.
    for (const name of ["companion.bin", "companion.json"]) rmSync(join(run, name));
    writeFileSync(file("rows.jsonl"), jsonl(toyRows(3, 1)));
    await mistake(["extract", run, file("rows.jsonl")], [LONG, "labels.json"]);
    await mistake(["evaluate", run], [LONG, "labels.json"]);
  });

  it.each([
    ["blank", " "],
    ["with a line break", "收\n购"],
    ["with a control character", "收\u0007购"],
    ["twice after normalisation", "ＡＢ\u0000".slice(0, 2)],
  ])("%s: refused before the first step or trained and extracted with", async (name, label) => {
    const more = name.startsWith("twice") ? [label, "AB"] : [label];
    const folder = dataFolder(file(`label-${name}`), { train: toyRows(4, 1), "labels.json": withLabels(...more) });
    const run = file(`label-run-${name}`);
    const outcome = await cre(train(folder, run, "train.epochs=1"), { timeoutMs: HANG_MS });
    expect([0, 1], outcome.stderr).toContain(outcome.code);
    if (outcome.code === 1) {
      expect(outcome.stderr).toContain("labels.json");
      expect(outcome.stderr).not.toContain("training rows");
      return;
    }
    const { stderr } = await done(["extract", run, "-"], { input: jsonl(toyRows(3, 1)) });
    expect(stderr).toContain("3 extracted, 0 bad");
  });
});

describe("case B18: prompts beyond the model's context", () => {
  const BACKGROUND = "这是一段与两家公司没有关系的背景文字，讲述天气和饮食。";
  const long = { ...toyRows(1, 1)[0] };
  long.sentence += BACKGROUND.repeat(60);

  it("a recipe that allows more tokens than the model's positions is an error or a note before training", async () => {
    const folder = dataFolder(file("context"), { train: toyRows(4, 1) });
    const run = file("context-run");
    const outcome = await cre(train(folder, run, "prompt.maxPromptTokens=20000", "train.epochs=1"), {
      timeoutMs: HANG_MS,
    });
    expect([0, 1], outcome.stderr).toContain(outcome.code);
    expect(outcome.stderr).toMatch(/maxPromptTokens/);
    expect(outcome.stderr).toMatch(/\b256\b/);
    const said = outcome.stderr.indexOf("maxPromptTokens");
    const began = outcome.stderr.indexOf("training rows");
    if (began >= 0) expect(said).toBeLessThan(began);
  });

  it("a sentence beyond it is shortened and marked, in extraction and in training", async () => {
    const folder = dataFolder(file("long"), { train: [long, ...toyRows(3, 1)], test: [long] });
    const run = file("long-run");
    const outcome = await cre(train(folder, run, "prompt.maxPromptTokens=20000", "train.epochs=1"), {
      timeoutMs: HANG_MS,
    });
    if (outcome.code === 1) return expect(outcome.stderr).toMatch(/maxPromptTokens/);
    expect(outcome.stderr).toContain("1 prompts shortened to fit");
    const { stdout } = await done(["extract", run, "-"], { input: jsonl([long]) });
    expect(parsedLines(stdout)[0]).toMatchObject({ truncated: true });
    const evaluated = await done(["evaluate", run, "--json", "-"]);
    expect(JSON.parse(evaluated.stdout).truncated).toBe(1);
  });

  it("a run whose recipe was trained so is told of when it is opened", async () => {
    const run = copyOf(toys.run, file("context-open"));
    const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
    recipe.prompt.maxPromptTokens = 20_000;
    writeRecipe(join(run, "recipe.yaml"), recipe);
    const outcome = await cre(["extract", run, "-"], { input: jsonl([long]), timeoutMs: HANG_MS });
    if (outcome.code === 1) return expect(outcome.stderr).toMatch(/maxPromptTokens/);
    expect(parsedLines(outcome.stdout)[0]).toMatchObject({ truncated: true });
  });

  it("model generate ends at the context or says that it is beyond it", async () => {
    const { code, stderr } = await cre(
      ["model", "generate", toys.base, "--prompt", "远山".repeat(200), "--max-new-tokens", "40"],
      { timeoutMs: HANG_MS },
    );
    expect([0, 1], stderr).toContain(code);
    expect(stderr).toMatch(/\b256\b/);
  });
});

/** Seconds of the processor that a command took more than the same command on a small input would be; generous on a busy machine. */
async function secondsOf(command: readonly string[], input?: string): Promise<number> {
  const started = performance.now();
  await cre(command, { input, timeoutMs: HANG_MS });
  return (performance.now() - started) / 1000;
}

describe("case B23: long documents in which both entities occur often", () => {
  const often = jsonl([{ sentence: "甲乙".repeat(20_000), head: "甲", tail: "乙" }]);
  const long = jsonl([{ sentence: `甲乙${"丙丁".repeat(20_000)}`, head: "甲", tail: "乙" }]);

  it.each(["between", "marked", "asked", "twice", "paper"])(
    "style %s takes about as long as where they occur once",
    async (style) => {
      const run = copyOf(toys.run, file(`style-${style}`));
      const recipe = parse(readFileSync(join(run, "recipe.yaml"), "utf8"));
      recipe.prompt.style = style;
      writeRecipe(join(run, "recipe.yaml"), recipe);
      const once = await secondsOf(["extract", run, "-"], long);
      const many = await secondsOf(["extract", run, "-"], often);
      expect(many, `${once} s with one mention each`).toBeLessThan(3 * once + 4);
    },
  );

  it("data convert and stats too", async () => {
    const row = { ...JSON.parse(often), relations: ["收购"] };
    const folder = dataFolder(file("often"), { train: [row] });
    const convert = ["data", "convert", folder, "--split", "train", "--format", "alpaca", "--prompt", "between"];
    expect(await secondsOf(convert)).toBeLessThan(10);
    expect(await secondsOf(["data", "stats", folder])).toBeLessThan(10);
  });
});

describe("bounds of labels.json", () => {
  const many = Array.from({ length: 5000 }, (_, i) => `关系${i}号标签`);

  it("5,000 labels with 5,000 unknown inverses are refused within seconds", async () => {
    const inverses = Object.fromEntries(many.map((label, i) => [label, `相反${i}号标签`]));
    const folder = dataFolder(file("inverses"), {
      train: toyRows(1, 1),
      "labels.json": JSON.stringify({ labels: many, inverses }),
    });
    const { stderr } = await mistake(["data", "stats", folder], ["labels.json"], { timeoutMs: 15_000 });
    expect(stderr.length).toBeLessThan(20_000);
  });

  it("so are 5,000 unknown symmetric labels, and 5,000 rows with unknown relations", async () => {
    const unknown = many.map((label) => `另${label}`);
    const folder = dataFolder(file("symmetric"), {
      train: toyRows(1, 1),
      "labels.json": JSON.stringify({ labels: many, symmetric: unknown }),
    });
    await mistake(["data", "stats", folder], ["labels.json"], { timeoutMs: 15_000 });
    const [row] = toyRows(1, 1);
    const rows = dataFolder(file("unknown"), {
      train: [row, ...unknown.map((label) => ({ ...row, relations: [label] }))],
      "labels.json": JSON.stringify({ labels: [...many, ...LABELS.labels] }),
    });
    await mistake(["data", "stats", rows], ["train.jsonl"], { timeoutMs: 15_000 });
  });
});

describe("recipes that ask for more than there is", () => {
  const HUGE: [string, boolean][] = [
    ["adapter.rank=1000000", true],
    ["adapter.rank=1000000000", true],
    ["train.epochs=1e308", false],
    ["train.epochs=1e15", false],
    ["train.batchExamples=9007199254740991", false],
    ["train.accumulation=9007199254740991", false],
    ["model.init.layers=1000000", false],
    ["model.init.width=1048576", false],
    ["model.init.feedForward=1000000000", false],
    ["model.init.vocabularyMultiple=1000000000", false],
    ["model.init.maxTokens=9007199254740991", false],
    ["decode.maxBatchTokens=9007199254740991", false],
    ["train.validateEvery=1e308", false],
    ["train.checkpointSeconds=1e308", false],
  ];

  it.each(HUGE)("%s is refused, or stopped as easily as any other", async (set, isLora) => {
    const run = file(`huge-${set}`);
    const command = ["train", isLora ? toys.loraRecipe : toys.recipe, "--run", run, "--set", set];
    const outcome = await cre(command, {
      timeoutMs: HANG_MS,
      // What may be trained is stopped after its first step.
      kill: { when: (stderr) => stderr.includes("training rows"), signal: "SIGINT" },
      env: { NODE_OPTIONS: "--max-old-space-size=900" },
    });
    expect([0, 1, 130], outcome.stderr.slice(-1500)).toContain(outcome.code);
    expect(outcome.stderr).not.toMatch(/\n\s+at /);
    const group = set.split(".").slice(0, -1).join("\\.");
    if (outcome.code === 1) expect(outcome.stderr).toMatch(new RegExp(`${group}\\b|memory`));
  });

  it("names what is needed and what there is", async () => {
    await mistake(
      ["train", toys.loraRecipe, "--run", file("rank"), "--set", "adapter.rank=10000000"],
      [/GB|TB/, /memory/i],
    );
  });

  it("a GGUF file with millions of array items is refused or read within seconds", async () => {
    await done(["export", toys.run, "--to", "gguf", "--output", file("gguf")]);
    const whole = readFileSync(file("gguf/run-F32.gguf"));
    const items = 7_900_000;
    const head = Buffer.alloc(8 + 8 + 4 + 4 + 8);
    head.writeBigUInt64LE(8n, 0);
    head.write("test.arr", 8);
    head.writeUInt32LE(9, 16);
    head.writeUInt32LE(0, 20);
    head.writeBigUInt64LE(BigInt(items), 24);
    whole.writeBigUInt64LE(whole.readBigUInt64LE(16) + 1n, 16);
    const path = file("array.gguf");
    writeFileSync(path, Buffer.concat([whole.subarray(0, 24), head, Buffer.alloc(items), whole.subarray(24)]));
    const once = await secondsOf(["model", "info", file("gguf/run-F32.gguf")]);
    expect(await secondsOf(["model", "info", path])).toBeLessThan(3 * once + 2);
  });
});
