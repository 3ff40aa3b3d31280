import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cre, jsonl, ROOT, SHARED, TOKENIZER, temporaryFolder, toyRows, writeRecipe } from "../e2e/support.ts";
import { done, expectMistake, HANG_MS, readOnlyFolder } from "./outcome.ts";
import { copyOf, type ToyRuns, toyRuns } from "./toy-runs.ts";

// Cases B06 and B08: an output that cannot be written is the user's mistake, found before any work is done.

const temporary = temporaryFolder("paths");
const file = (name: string) => join(temporary.path, name);
const ROWS = file("rows.jsonl");
const PREDICTIONS = file("predictions.jsonl");
const TEXT = file("text.txt");
const FINRE = join(SHARED, "data", "finre");
let toys: ToyRuns;
let ownRun: string;
let pretrainRun: string;
let pretrainRecipe: string;
let readOnly: ReturnType<typeof readOnlyFolder>;

beforeAll(async () => {
  toys = await toyRuns();
  ownRun = copyOf(toys.run, file("run"));
  // If the first row is reported as bad, rows were computed.
  writeFileSync(ROWS, jsonl([{ sentence: "没有", head: "甲", tail: "乙" }, ...toyRows(3, 7)]));
  writeFileSync(PREDICTIONS, jsonl([{ label: "([甲],收购,[乙])", predict: "([甲],收购,[乙])" }]));
  writeFileSync(TEXT, Array.from({ length: 60 }, (_, i) => `${i}日，甲公司收购乙公司的股份。`).join("\n\n"));
  mkdirSync(file("folder"));
  writeFileSync(join(file("folder"), "kept.txt"), "kept");
  writeFileSync(file("file"), "kept");
  symlinkSync("/mnt/not-there", file("gone"));
  readOnly = readOnlyFolder(file("read-only"));
  pretrainRecipe = writeRecipe(file("pretrain.yaml"), {
    model: {
      init: { width: 16, layers: 1, heads: 2, keyValueHeads: 1, feedForward: 32, maxTokens: 128 },
      tokenizer: TOKENIZER,
      storage: "float32",
    },
    data: { folder: ".", sources: { text: { path: "text.txt", weight: 1, heldOut: 0.2 } } },
    train: {
      ...{ sequenceTokens: 16, passSequences: 2, accumulation: 1, steps: 2, learningRate: 0.01, clipNorm: 1 },
      ...{ schedule: "trapezoid", warmupSteps: 1, decaySteps: 1, finalLearningRate: 0, weightDecay: 0.1 },
      ...{ beta1: 0.9, beta2: 0.95, epsilon: 1e-8, validateEverySteps: 2, checkpointSeconds: 1e6, recompute: false },
    },
    seed: 1,
  });
  pretrainRun = file("pretrained");
  await done(["model", "pretrain", pretrainRecipe, "--run", pretrainRun]);
}, 120_000);
afterAll(() => {
  readOnly?.remove();
  temporary.remove();
});

/** Everything under the temporary folder with its size. */
function listing(): string[] {
  const names = readdirSync(temporary.path, { recursive: true, encoding: "utf8" }).sort();
  return names.map((name) => `${name} ${statSync(file(name), { throwIfNoEntry: false })?.size}`);
}

/** Paths that no file can be written to, and no folder made at. */
const IMPOSSIBLE: { name: string; path: () => string | null; isFor: "files" | "folders" | "both"; isRare?: boolean }[] =
  [
    { name: "is a folder", path: () => file("folder"), isFor: "files" },
    { name: "is a file", path: () => file("file"), isFor: "folders" },
    { name: "lies below a file", path: () => file("file/x"), isFor: "both" },
    { name: "lies far below a file", path: () => file("file/x/y/z"), isFor: "both", isRare: true },
    { name: "lies below a dangling link", path: () => file("gone/x"), isFor: "both" },
    { name: "lies in a folder where mkdir answers ENOENT", path: () => "/proc/here/x", isFor: "both" },
    { name: "lies in a read-only folder", path: () => (readOnly ? file("read-only/x") : null), isFor: "both" },
    { name: "has a name that is too long", path: () => file("n".repeat(300)), isFor: "both", isRare: true },
  ];

interface OutputCommand {
  name: string;
  command: (output: string) => string[];
  /** Is printed, or exists, when work was done. */
  worked?: RegExp;
}

const FILES: OutputCommand[] = [
  {
    name: "extract --output",
    command: (output) => ["extract", toys.run, ROWS, "--output", output],
    worked: /bad row/,
  },
  {
    name: "extract --output --overwrite",
    command: (output) => ["extract", toys.run, ROWS, "--output", output, "--overwrite"],
    worked: /bad row/,
  },
  { name: "evaluate --json", command: (output) => ["evaluate", ownRun, "--json", output] },
  { name: "score --json", command: (output) => ["score", PREDICTIONS, "--json", output] },
];

const FOLDERS: OutputCommand[] = [
  { name: "train --run", command: (output) => ["train", toys.recipe, "--run", output], worked: /training rows/ },
  { name: "train --run, LoRA", command: (output) => ["train", toys.loraRecipe, "--run", output] },
  { name: "export --to merged", command: (output) => exported(toys.run, "merged", output) },
  { name: "export --to gguf", command: (output) => exported(toys.run, "gguf", output) },
  { name: "export --to peft", command: (output) => exported(toys.loraRun, "peft", output) },
  { name: "export --to gguf-lora", command: (output) => exported(toys.loraRun, "gguf-lora", output) },
  { name: "model init --output", command: (output) => ["model", "init", toys.recipe, "--output", output] },
  {
    name: "tokenizer train --output",
    command: (output) => ["tokenizer", "train", TEXT, "--output", output, "--pieces", "300"],
    worked: /characters a token/,
  },
  {
    name: "model pretrain --run",
    command: (output) => ["model", "pretrain", pretrainRecipe, "--run", output],
    worked: /held out after/,
  },
  {
    name: "model pretrain --tokens",
    command: (output) => ["model", "pretrain", pretrainRecipe, "--run", file("never"), "--tokens", output],
    worked: /held out after/,
  },
  {
    name: "model export-base --output",
    command: (output) => ["model", "export-base", pretrainRun, "--output", output],
  },
  {
    name: "bench results --runs",
    command: (output) => ["bench", "results", toys.recipe, "--seeds", "1", "--runs", output],
    worked: /training rows/,
  },
  {
    name: "bench model-folder",
    command: (output) => [
      "bench",
      "model-folder",
      output,
      "--shape",
      "llama2-7b",
      "--layers",
      "1",
      "--tokenizer",
      TOKENIZER,
    ],
  },
  { name: "data fetch --output", command: (output) => ["data", "fetch", "finre", "--from", FINRE, "--output", output] },
];

/** The commands that are tried with rare paths too: one of each way to write. */
const WITH_RARE = ["extract --output", "score --json", "train --run", "export --to merged"];

function exported(run: string, to: string, output: string): string[] {
  return ["export", run, "--to", to, "--output", output];
}

async function expectRefused(given: OutputCommand, path: string): Promise<void> {
  const before = listing();
  const outcome = await cre(given.command(path), { timeoutMs: HANG_MS, cwd: temporary.path });
  expectMistake(outcome, [path]);
  if (given.worked) expect(outcome.stderr + outcome.stdout).not.toMatch(given.worked);
  expect(outcome.stdout, "results of work that should not have been done").toBe("");
  expect(listing()).toEqual(before);
}

if (!existsSync(FINRE)) console.warn(`skipped: data fetch --output; ${FINRE} is absent`);
const commands = [
  ...FILES.map((given) => ({ ...given, kind: "files" })),
  ...FOLDERS.map((given) => ({ ...given, kind: "folders" })),
].filter(({ name }) => name !== "data fetch --output" || existsSync(FINRE));

describe.each(commands)("$name is refused before any work, when the output", ({ kind, ...given }) => {
  for (const { name, path, isFor, isRare } of IMPOSSIBLE) {
    if (isFor !== "both" && isFor !== kind) continue;
    if (isRare && !WITH_RARE.includes(given.name)) continue;
    it(name, async (context) => {
      const output = path();
      if (output === null) return context.skip();
      await expectRefused(given, output);
    });
  }
});

describe("an empty path is refused by name", () => {
  it.each(commands)("$name", async ({ command }) => {
    const outcome = await cre(command(""), { timeoutMs: HANG_MS, cwd: file("folder") });
    expectMistake(outcome, [/--(run|output|json|tokens|runs)|path|folder|empty/i]);
    expect(outcome.stdout).toBe("");
    expect(readdirSync(file("folder"))).toEqual(["kept.txt"]);
  });

  it.each([
    ["evaluate", ""],
    ["extract", "", "-"],
    ["data", "stats", ""],
    ["model", "info", ""],
    ["tokenize", ""],
    ["train", ""],
    ["train", "--resume", "--run", ""],
    ["score", ""],
  ])("%s %s %s", async (...command) => {
    expectMistake(
      await cre(
        command.filter((word) => word !== undefined),
        { timeoutMs: HANG_MS },
      ),
      [/^error: \S/m],
    );
  });
});

describe("a path with blanks and characters of other alphabets", () => {
  it("is written to", async () => {
    const output = file("新 文件/行 1.jsonl");
    await done(["extract", toys.run, ROWS, "--output", output]);
    expect(readFileSync(output, "utf8").trimEnd().split("\n")).toHaveLength(4);
    await done(exported(toys.run, "merged", file("新 文件/模型")), { cwd: ROOT });
    expect(existsSync(file("新 文件/模型/model.safetensors"))).toBe(true);
  });
});
