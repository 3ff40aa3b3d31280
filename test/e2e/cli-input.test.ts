import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  buildCli,
  type CreOptions,
  cre,
  jsonl,
  ROOT,
  SHARED,
  TOKENIZER,
  temporaryFolder,
  toyRecipe,
  toyRows,
  writeRecipe,
  writeToyData,
} from "./support.ts";

const temporary = temporaryFolder("cli-input");
const file = (name: string) => join(temporary.path, name);
const data = writeToyData(file("data"));
const recipe = writeRecipe(file("toy.yaml"), toyRecipe(data));
const model = file("model");

beforeAll(async () => {
  await buildCli();
  const { code, stderr } = await cre(["model", "init", recipe, "--output", model, "--dtype", "F32"]);
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/\d+,\d{3} parameters/);
});
afterAll(() => temporary.remove());

/** Runs a command that must fail as the user's mistake: exit code 1, every text in the message, no stack. */
async function expectMistake(command: string[], texts: string[], options: CreOptions = {}): Promise<void> {
  const { code, stdout, stderr } = await cre(command, options);
  expect(code, stderr).toBe(1);
  for (const text of texts) expect(stderr).toContain(text);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stdout).toBe("");
}

/** A copy of the toy data with one file replaced. */
function spoiledData(name: string, target: string, content: string | Buffer): string {
  const folder = file(name);
  cpSync(data, folder, { recursive: true });
  writeFileSync(join(folder, target), content);
  return folder;
}

const train = (folder: string) => ["train", recipe, "--data", folder, "--run", file("never")];

describe("bad input is a clear message and exit code 1", () => {
  it("a recipe with three mistakes: all three are listed", async () => {
    const wrong = toyRecipe(data);
    Object.assign(wrong.train, { learningRat: 1, epochs: -5 });
    Object.assign(wrong.prompt, { maxPromptTokens: "many" });
    await expectMistake(
      ["train", writeRecipe(file("wrong.yaml"), wrong)],
      [
        "3 problems",
        'train.learningRat — unknown key, did you mean "learningRate"?',
        "train.epochs is -5",
        "prompt.maxPromptTokens is",
      ],
    );
  });

  it("a recipe with six mistakes of six kinds: six lines, and no weight is read", async () => {
    const broken = file("broken");
    cpSync(model, broken, { recursive: true });
    const weights = readFileSync(join(model, "model.safetensors"));
    // Loading these weights is an error of its own.
    writeFileSync(
      join(broken, "model.safetensors"),
      Buffer.from(weights.toString("latin1").replace("model.norm.weight", "model.nrom.weight"), "latin1"),
    );
    const untrained = file("untrained");
    cpSync(data, untrained, { recursive: true });
    rmSync(join(untrained, "train.jsonl"));
    const right = { ...toyRecipe(data), model: { path: broken }, adapter: { method: "lora" } };
    const start = (name: string, changed: unknown) => [
      "train",
      writeRecipe(file(name), changed),
      "--run",
      file("never"),
    ];
    await expectMistake(start("right.yaml", right), ["do not fit config.json", '"model.norm.weight" is missing']);
    const wrong = {
      ...right,
      data: { path: untrained },
      prompt: { style: "marked", template: "plian", maxPromptTokens: 300, maxAnswerTokens: 1 },
      adapter: { method: "lora", targets: ["q_porj"] },
      train: { ...toyRecipe(data).train, epochs: -5 },
    };
    const { code, stderr } = await cre(start("six.yaml", wrong));
    expect(code).toBe(1);
    const lines = stderr.split("\n").filter((line) => line.startsWith("  - "));
    expect(lines).toEqual([
      expect.stringContaining("train.epochs is -5"),
      expect.stringContaining('chat template: got "plian"'),
      expect.stringContaining('adapter.targets: "q_porj" is not a module of a llama model, did you mean "q_proj"?'),
      expect.stringContaining("prompt.maxPromptTokens is 300, expected at most the 256"),
      expect.stringContaining("untrained has valid, test, expected train"),
      expect.stringMatching(/prompt.maxAnswerTokens is 1, expected at least \d: .*"收购" \(\d tokens\)/),
    ]);
    expect(stderr).toContain("six.yaml: 6 problems:");
    expect(existsSync(file("never"))).toBe(false);
  });

  it("a sentence without its entity", async () => {
    const rows = [...toyRows(3, 1), { sentence: "远山很高", head: "远山", tail: "近水", relations: ["合作"] }];
    const folder = spoiledData("absent", "train.jsonl", jsonl(rows));
    await expectMistake(train(folder), [
      "train.jsonl, line 4",
      'the tail "近水"',
      "a part of the sentence",
      "--skip-bad",
    ]);
    const skipped = await cre([...train(folder), "--skip-bad", "--set", "train.epochs=0.1", "--run", file("skipped")]);
    expect(skipped.code, skipped.stderr).toBe(0);
    expect(skipped.stderr.match(/1 bad rows of train were left out/g)?.length).toBe(1);
  });

  it("an empty file, one that is not UTF-8, a row of more than 1 MB", async () => {
    await expectMistake(train(spoiledData("empty", "train.jsonl", "")), ["train.jsonl: is empty"]);
    const latin = Buffer.concat([Buffer.from(jsonl(toyRows(2, 1))), Buffer.from([0xc4, 0xe3, 0x0a])]);
    await expectMistake(train(spoiledData("latin", "train.jsonl", latin)), ["train.jsonl, line 3", "not valid UTF-8"]);
    const row = { ...toyRows(1, 1)[0], note: "长".repeat(400_000) };
    const folder = spoiledData("long", "train.jsonl", jsonl([...toyRows(2, 1), row]));
    await expectMistake(train(folder), ["train.jsonl, line 3", "expected at most 1000000"]);
    await expectMistake(["data", "stats", folder], ["line 3"]);
    await expectMistake(["train", writeAnd("blank.yaml", "")], ["is not a recipe"]);
    await expectMistake(["train", writeAnd("latin.yaml", latin)], ["latin.yaml, line 3: is not valid UTF-8", "iconv"]);
    const ids = await cre(["tokenize", TOKENIZER, "-"], { input: latin });
    expect(ids).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("standard input, line 3: the line is not valid UTF-8"),
    });
    expect(ids.stdout.split("\n").length).toBe(3);
    expect(existsSync(file("never"))).toBe(false);
  });

  it("a truncated model, and one whose tensors do not fit its config", async () => {
    const cut = file("cut");
    cpSync(model, cut, { recursive: true });
    truncateSync(join(cut, "model.safetensors"), 100_000);
    for (const command of [
      ["model", "info", cut],
      ["model", "generate", cut, "--prompt", "甲"],
    ]) {
      await expectMistake(command, ["model.safetensors", "but the file holds", "cut short"]);
    }
    truncateSync(join(cut, "model.safetensors"), 5);
    await expectMistake(["model", "info", cut], ["5 bytes, too short"]);
    const other = file("other");
    cpSync(model, other, { recursive: true });
    const config = readFileSync(join(model, "config.json"), "utf8");
    writeFileSync(join(other, "config.json"), config.replace('"intermediate_size": 32', '"intermediate_size": 48'));
    await expectMistake(["model", "generate", other, "--prompt", "甲"], ["do not fit config.json", "expected [48,16]"]);
    await expectMistake(["model", "info", file("nowhere")], ["nowhere", "expected a model folder"]);
    await expectMistake(["model", "info", data], ["has no config.json"]);
  });

  it("a tokenizer with another number of pieces than the model", async () => {
    const small = file("small");
    const wrong = toyRecipe(data);
    const pieces = join(ROOT, "test", "golden", "tokenizers", "bytes.model");
    Object.assign(wrong.model, { tokenizer: pieces });
    expect((await cre(["model", "init", writeRecipe(file("small.yaml"), wrong), "--output", small])).code).toBe(0);
    wrong.model = { path: small, tokenizer: TOKENIZER };
    await expectMistake(
      ["train", writeRecipe(file("mixed.yaml"), wrong), "--run", file("never")],
      ["the tokenizer has 8000 pieces, but the model's vocabulary is", "Does the tokenizer belong to this model?"],
    );
    cpSync(TOKENIZER, join(small, "tokenizer.model"));
    await expectMistake(["model", "generate", small, "--prompt", "甲"], ["the tokenizer has 8000 pieces"]);
    writeFileSync(join(small, "tokenizer.model"), readFileSync(TOKENIZER).subarray(0, 50_001));
    await expectMistake(["tokenize", small], ["tokenizer.model"], { input: "甲\n" });
  });

  it("a command or an option that there is not", async () => {
    await expectMistake(["trian"], ["unknown command 'trian'", "Did you mean train?", "cre --help"]);
    await expectMistake(["train", recipe, "--sett", "a=1"], ["unknown option '--sett'", "--help"]);
    await expectMistake(["evaluate"], ["missing required argument 'run'"]);
    await expectMistake(
      ["data", "convert", data, "--split", "dev", "--format", "jsonl"],
      ["Allowed choices are train, valid, test"],
    );
    await expectMistake(["model", "generate", model, "--top-k", "-1"], ["expected a whole number"]);
    await expectMistake([], ["Usage: cre"]);
    expect(await cre(["--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("extract") });
    expect(await cre(["data", "stats", "--help"])).toMatchObject({ code: 0 });
    await expectMistake(["model", "info", model, "--json", "--tensors", "more"], ["too many arguments"]);
    await expectMistake(["extract", model], ["is not a run folder"]);
    await expectMistake(["model", "generate", model], ["CRE_BACKEND"], { env: { CRE_BACKEND: "gpu" } });
  });
});

function writeAnd(name: string, content: string | Buffer): string {
  writeFileSync(file(name), content);
  return file(name);
}

describe("models and tokenizers", () => {
  it("are shown, and continue a text greedily or by a seed", async () => {
    const shown = await cre(["model", "info", model, "--tensors"]);
    expect(shown.code, shown.stderr).toBe(0);
    expect(shown.stdout).toContain("model.layers.0.self_attn.q_proj.weight");
    const info = JSON.parse((await cre(["model", "info", model, "--json"])).stdout);
    expect(info.spec).toMatchObject({ width: 16, layers: 1, vocabularySize: 8000 });
    expect(info.parameters).toBe(info.stored);
    const generate = ["model", "generate", model, "--prompt", "远山", "--max-new-tokens", "6"];
    const [greedy, again, sampled, sampledAgain] = await Promise.all([
      cre(generate),
      cre(generate),
      cre([...generate, "--temperature", "2", "--seed", "3"]),
      cre([...generate, "--temperature", "2", "--seed", "3"]),
    ]);
    expect(greedy).toMatchObject({ code: 0, stdout: expect.stringMatching(/^远山/) });
    expect(again.stdout).toBe(greedy.stdout);
    expect(sampledAgain.stdout).toBe(sampled.stdout);
    expect(sampled.stdout).not.toBe(greedy.stdout);
  });

  it("turn lines into arrays of ids", async () => {
    const { code, stdout } = await cre(["tokenize", model], { input: "远山收购近水\n\n甲" });
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.length).toBe(3);
    expect(lines[1]).toEqual([]);
    expect(lines[0].every((id: unknown) => Number.isInteger(id))).toBe(true);
  });
});

describe("data", () => {
  it("is counted", async () => {
    const { code, stdout } = await cre(["data", "stats", data]);
    expect(code).toBe(0);
    for (const text of ["train", "valid", "test", "16", "收购"]) expect(stdout).toContain(text);
    const statistics = JSON.parse((await cre(["data", "stats", data, "--json"])).stdout);
    expect(JSON.stringify(statistics)).toContain("合作");
  });

  it("is converted to each format and back", async () => {
    const convert = (from: string, format: string) =>
      cre(["data", "convert", from, "--split", "train", "--format", format]);
    const rows = (await convert(data, "jsonl")).stdout;
    expect(
      rows
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).sentence),
    ).toEqual(toyRows(16, 1).map(({ sentence }) => sentence));
    const nre = file("nre");
    mkdirSync(nre);
    writeFileSync(join(nre, "train.txt"), (await convert(data, "chinese-nre")).stdout);
    writeFileSync(join(nre, "relation2id.txt"), "unknown 0\n收购 1\n被收购 2\n合作 3\n");
    const back = (await convert(nre, "jsonl")).stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(back.map(({ sentence, relations }) => [sentence, relations])).toEqual(
      toyRows(16, 1).map(({ sentence, relations }) => [sentence, relations]),
    );
    const alpaca = JSON.parse((await convert(data, "alpaca")).stdout.split("\n")[0]);
    const [{ head, tail }] = toyRows(1, 1);
    expect(alpaca).toEqual({
      instruction: "请根据给定句子和实体抽取其关系",
      input: `0日[${head}]收购[${tail}]的股份 ([${head}],?,[${tail}])`,
      output: `([${head}],收购,[${tail}])`,
    });
  });

  it("is fetched from a folder, and refused when it is not the published edition", async () => {
    await expectMistake(["data", "fetch", "finre", "--from", data, "--output", file("finre")], ["cannot be read"]);
    await expectMistake(["data", "fetch", "other"], ["Allowed choices are finre, sanwen"]);
  });
});

const FINRE = join(SHARED, "data", "finre");
if (!existsSync(FINRE)) console.warn(`the published FinRE is not converted: ${FINRE} is absent`);

describe.skipIf(!existsSync(FINRE))("the published FinRE", () => {
  it("gives exactly the 3,359 instruction rows of the paper's rule for its test split", async () => {
    const { code, stdout } = await cre([
      "data",
      "convert",
      FINRE,
      "--split",
      "test",
      "--format",
      "alpaca",
      "--prompt",
      "paper",
    ]);
    expect(code).toBe(0);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual(paperRows(join(FINRE, "test.txt")));
  });

  it("is copied and checked by fetch --from, and counted", async () => {
    const target = file("finre");
    const { code, stderr } = await cre(["data", "fetch", "finre", "--from", FINRE, "--output", target]);
    expect(code, stderr).toBe(0);
    const statistics = (await cre(["data", "stats", target])).stdout;
    for (const count of ["3,359", "12,294", "1,353"])
      expect(statistics.replaceAll(/(\d)(\d{3})\b/g, "$1,$2")).toContain(count);
  });
});

/** The rule of the paper's data, written out on its own: both entities wrapped, rows with the same input merged. */
function paperRows(path: string): { instruction: string; input: string; output: string }[] {
  const outputs = new Map<string, string[]>();
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (line.trim() === "") continue;
    const [head, tail, relation, sentence] = line.replace(/\r$/, "").split("\t");
    const marked = sentence.replaceAll(head, `[${head}]`).replaceAll(tail, `[${tail}]`);
    const input = `${marked} ([${head}],?,[${tail}])`;
    outputs.set(input, [...(outputs.get(input) ?? []), `([${head}],${relation},[${tail}])`]);
  }
  expect(outputs.size).toBe(3359);
  return [...outputs].map(([input, list]) => ({
    instruction: "请根据给定句子和实体抽取其关系",
    input,
    output: list.join(","),
  }));
}
