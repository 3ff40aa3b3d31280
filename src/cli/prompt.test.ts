import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { TOKENIZER } from "../../test/tiny-extractor.ts";
import { columnsOf } from "../base/text-layout.ts";
import { type PromptReport, promptReport, promptText } from "./prompt.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-prompt-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ROWS = [
  { sentence: "远山收购近水", head: "远山", tail: "近水", relations: ["收购"] },
  { sentence: "东风与南湖合作", head: "东风", tail: "南湖", relations: ["合作"] },
];
const LABELS = {
  labels: ["无", "收购", "被收购", "合作"],
  noRelation: "无",
  inverses: { 收购: "被收购" },
  symmetric: ["合作"],
};
const jsonl = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

const data = join(folder, "data");
mkdirSync(data);
writeFileSync(join(data, "labels.json"), JSON.stringify(LABELS));
writeFileSync(join(data, "train.jsonl"), jsonl(ROWS));

/** A model from nothing, so there are no weights that could be read. */
const RECIPE = {
  model: { init: { width: 8, layers: 1, heads: 1, keyValueHeads: 1, feedForward: 8 }, tokenizer: TOKENIZER },
  data: { path: data },
  prompt: { style: "marked", template: "auto", maxPromptTokens: 64 },
  train: { epochs: 1 },
  decode: { bothDirections: true },
};
const recipeFile = join(folder, "recipe.yaml");
writeFileSync(recipeFile, stringify(RECIPE));

describe("the report on a prompt", () => {
  it("of a recipe shows its first training row, or the one asked for", async () => {
    const report = await promptReport(recipeFile, undefined, { row: 1 });
    expect(report).toMatchObject({
      row: { source: `${data}, split train`, number: 1, example: ROWS[0] },
      ...{ style: "marked", template: "plain", attention: "causal", maxPromptTokens: 64, maxAnswerTokens: 512 },
    });
    expect(report.question.prompt.text).toBe("<s>[远山]收购{近水}\n[远山]{近水}\n");
    const second = await promptReport(recipeFile, undefined, { row: 2 });
    expect(second.row.example).toEqual(ROWS[1]);
  });

  it("shows the question from tail to head where both are asked, with the inverse gold label", async () => {
    const gold = ({ answers }: PromptReport["question"]) =>
      answers.filter(({ isGold }) => isGold).map(({ label }) => label);
    const { question, mirror } = await promptReport(recipeFile, undefined, { row: 1 });
    expect([mirror?.head, mirror?.tail, mirror?.prompt.text]).toEqual([
      "近水",
      "远山",
      "<s>{远山}收购[近水]\n[近水]{远山}\n",
    ]);
    expect([gold(question), gold(mirror as PromptReport["question"])]).toEqual([["收购"], ["被收购"]]);
    const one = join(folder, "one.yaml");
    writeFileSync(one, stringify({ ...RECIPE, decode: {} }));
    expect((await promptReport(one, undefined, { row: 1 })).mirror).toBeNull();
  });

  it("of a run uses the run's labels and needs no data for a row of a file", async () => {
    const run = join(folder, "run");
    mkdirSync(run);
    writeFileSync(join(run, "recipe.yaml"), stringify({ ...RECIPE, data: { path: join(folder, "gone") } }));
    writeFileSync(join(run, "labels.json"), JSON.stringify({ labels: ["是", "否"] }));
    const file = join(folder, "rows.jsonl");
    writeFileSync(file, `${jsonl([ROWS[1]])}\n{"sentence": 3}\n`);
    const { row, question } = await promptReport(run, file, { row: 1 });
    expect(row).toEqual({ source: file, number: 1, example: ROWS[1] });
    expect(question.answers.map(({ label, text }) => [label, text])).toEqual([
      ["是", "是"],
      ["否", "否"],
    ]);
    await expect(promptReport(run, file, { row: 2 })).rejects.toThrow(
      `${file}, line 3: got a number as "sentence", expected a text`,
    );
    await expect(promptReport(run, file, { row: 3 })).rejects.toThrow("has 2 rows, expected at least 3 (--row 3)");
    await expect(promptReport(run, undefined, { row: 1 })).rejects.toThrow("gone: does not exist");
    const withData = await promptReport(run, undefined, { row: 1, data });
    expect(withData.question.answers).toHaveLength(4);
  });

  it("refuses what it cannot show", async () => {
    const bare = join(folder, "bare.yaml");
    writeFileSync(bare, stringify({ ...RECIPE, data: {} }));
    await expect(promptReport(bare, undefined, { row: 1 })).rejects.toThrow("names no data, expected --data DIR");
    await expect(promptReport(recipeFile, undefined, { row: 0 })).rejects.toThrow("rows are counted from 1");
    await expect(promptReport(recipeFile, undefined, { row: 3 })).rejects.toThrow("split train: has 2 rows");
    await expect(promptReport(recipeFile, join(folder, "no.jsonl"), { row: 1 })).rejects.toThrow(
      "no.jsonl: does not exist",
    );
    await expect(promptReport(data, undefined, { row: 1 })).rejects.toThrow("is not a run folder");
  });
});

describe("the report as text", () => {
  it("has the prompt, every token and every answer, within the width", async () => {
    const text = promptText(await promptReport(recipeFile, undefined, { row: 1 }), 60);
    const plain = stripVTControlCharacters(text);
    expect(plain).toContain("gold      收购\nprompt    style marked, template plain, attention causal\n");
    expect(plain).toMatch(
      /Prompt {2}\d+ tokens of at most 64, not shortened\n│ <s>\[远山\]收购\{近水\}⏎\n│ \[远山\]\{近水\}⏎\n│ \n/,
    );
    expect(plain).toMatch(/\n {2}\d+ <s> +\d+ \[ /);
    expect(plain).toMatch(/ \d+ \\n\n/);
    expect(plain).toMatch(
      /Answers {2}4 labels with text and ids; ● gold\n {2}无 +无 +[\d ]+ 2\n● 收购 +收购 +[\d ]+ 2\n/,
    );
    expect(plain).toContain("\nThe question from tail to head (decode.bothDirections)\n");
    const rows = plain.split("\n").filter((line) => !line.startsWith(folder));
    expect(Math.max(...rows.map(columnsOf))).toBeLessThanOrEqual(60);
  });

  it("escapes control characters of the data", async () => {
    const file = join(folder, "hostile.jsonl");
    writeFileSync(file, jsonl([{ sentence: "远山\u001b[2J收购近水", head: "远山", tail: "近水" }]));
    const text = promptText(await promptReport(recipeFile, file, { row: 1 }), 80);
    expect(text).not.toContain("\u001b[2J");
    expect(stripVTControlCharacters(text)).toContain("sentence  远山\\u001b[2J收购近水\n");
  });

  it("puts long answers on lines of their own", async () => {
    const paper = join(folder, "paper.yaml");
    writeFileSync(paper, stringify({ ...RECIPE, prompt: { style: "paper", template: "plain" }, decode: {} }));
    const lines = promptText(await promptReport(paper, undefined, { row: 1 }), 44).split("\n");
    const at = lines.findIndex((line) => line.includes("([远山],合作,[近水])"));
    expect(stripVTControlCharacters(lines[at + 1])).toMatch(/^ {10}\d[\d ]+$/);
  });
});
