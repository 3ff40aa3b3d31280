import { describe, expect, it } from "vitest";
import { TINY_SPEC } from "../../test/tiny-model.ts";
import { UserError, UserErrors } from "../base/errors.ts";
import { createLabelSet } from "../data/label-set.ts";
import { attentionNotice, contentProblems, contextNotice, problemsOf } from "./check.ts";
import { recipeSchema } from "./schema.ts";

/** One token a character. */
const TOKENIZER = {
  encode: (text: string) =>
    Array.from(text.normalize("NFKC"), (character) => 10 + (character.codePointAt(0) as number)),
  bosId: 1,
  eosId: 2,
  idOf: () => null,
};
const AROUND = { spec: TINY_SPEC, tokenizer: TOKENIZER, splitNames: ["train"] as const };

function recipe(
  prompt: object,
  { adapter = { method: "lora" }, train = {} }: { adapter?: object; train?: object } = {},
) {
  return recipeSchema.parse({
    model: { path: "base" },
    data: { path: "rows" },
    prompt: { style: "marked", template: "plain", maxPromptTokens: TINY_SPEC.maxTokens, ...prompt },
    adapter,
    train: { epochs: 1, batchExamples: 1, learningRate: 0.1, ...train },
  });
}

describe("contentProblems", () => {
  it("names the labels whose answer is too long, the first ten of them", () => {
    const labels = createLabelSet(
      { labels: ["是", ...Array.from({ length: 12 }, (_, i) => `关系第${i + 10}号`)] },
      "x",
    );
    const [problem, ...others] = contentProblems(recipe({ maxAnswerTokens: 6 }), { ...AROUND, labels });
    expect(others).toEqual([]);
    expect(problem).toContain(
      'prompt.maxAnswerTokens is 6, expected at least 7: in the labels (labels.json, relation2id.txt) the answer is longer for "关系第10号" (7 tokens), ',
    );
    expect(problem).toMatch(/"关系第19号" \(7 tokens\) and 2 more$/);
    expect(contentProblems(recipe({ maxAnswerTokens: 7 }), { ...AROUND, labels })).toEqual([]);
  });

  it("counts the whole answer of a style, entities and brackets too", () => {
    const labels = createLabelSet({ labels: ["合作"] }, "x");
    const paper = { style: "paper", maxAnswerTokens: 12 };
    expect(contentProblems(recipe(paper), { ...AROUND, labels })).toEqual([
      'prompt.maxAnswerTokens is 12, expected at least 13: in the labels (labels.json, relation2id.txt) the answer is longer for "合作" (13 tokens)',
    ]);
    expect(contentProblems(recipe({ ...paper, maxAnswerTokens: 13 }), { ...AROUND, labels })).toEqual([]);
  });

  it("names labels that have the tokens of another", () => {
    const labels = createLabelSet({ labels: ["甲AB", "乙", "甲ＡＢ"] }, "x");
    expect(contentProblems(recipe({}), { ...AROUND, labels })).toEqual([
      'the labels (labels.json, relation2id.txt) cannot be told apart: the tokenizer reads "甲ＡＢ" as "甲AB", expected different tokens for each',
    ]);
  });

  it("checks 5,000 labels at once", () => {
    const labels = createLabelSet({ labels: Array.from({ length: 5000 }, (_, i) => `关系${i}号标签`) }, "x");
    const started = performance.now();
    expect(contentProblems(recipe({}), { ...AROUND, labels })).toEqual([]);
    expect(performance.now() - started).toBeLessThan(1500);
  });

  it("allows prompts up to the model's context", () => {
    const wrong = recipe({ maxPromptTokens: TINY_SPEC.maxTokens + 1 });
    const nothing = { ...AROUND, labels: null };
    expect(contentProblems(wrong, nothing)).toEqual([
      `prompt.maxPromptTokens is ${TINY_SPEC.maxTokens + 1}, expected at most the ${TINY_SPEC.maxTokens} of base`,
    ]);
    expect(contentProblems(recipe({}), nothing)).toEqual([]);
    expect(contentProblems(wrong, { ...nothing, spec: null })).toEqual([]);
  });

  it("leaves room for the virtual tokens of a prefix", () => {
    const nothing = { ...AROUND, labels: null };
    const prefix = { adapter: { method: "prefix", virtualTokens: 16 } };
    expect(contentProblems(recipe({}, prefix), nothing)).toEqual([
      "prompt.maxPromptTokens is 256, expected at most 240: the 256 of base less the 16 virtual tokens",
    ]);
    expect(contentProblems(recipe({ maxPromptTokens: 240 }, prefix), nothing)).toEqual([]);
  });

  it("expects something to validate on where training may end early", () => {
    const patient = recipe({}, { train: { patience: 3 } });
    const around = { ...AROUND, labels: null };
    expect(contentProblems(patient, around)).toEqual([
      "train.patience is 3, but there is no valid split to validate on: expected 0",
    ]);
    expect(contentProblems(patient, { ...around, splitNames: ["train", "valid"] })).toEqual([]);
    expect(contentProblems(patient, { ...around, splitNames: null })).toEqual([]);
    expect(() => recipe({}, { train: { patience: 3, validateEvery: 0 } })).toThrow(
      "3 needs validations: expected train.validateEvery above 0",
    );
  });

  it.each(["negatives", "joinedSentences"] as const)("expects a label for train.%s", (key) => {
    const drawing = recipe({}, { train: { [key]: 0.5 } });
    const labels = (noRelation: string | null) => ({ labels: ["甲", "无"], noRelation, inverses: new Map() });
    const around = { ...AROUND, tokenizer: null };
    expect(contentProblems(drawing, { ...around, labels: labels(null) })).toEqual([
      `train.${key} is 0.5, but no label of the data means no relation: expected 0, or "noRelation" in labels.json`,
    ]);
    expect(contentProblems(drawing, { ...around, labels: labels("无") })).toEqual([]);
    expect(() => recipe({}, { train: { [key]: 11 } })).toThrow(key);
  });

  it("expects a train split where there is a folder of rows", () => {
    const around = { ...AROUND, labels: null };
    expect(contentProblems(recipe({}), { ...around, splitNames: [] })).toEqual([
      "data.path: rows has no split, expected train",
    ]);
    expect(contentProblems(recipe({}), { ...around, splitNames: null })).toEqual([]);
  });
});

describe("contextNotice", () => {
  it("is for prompts that leave no room for the longest answer", () => {
    const notice = (maxPromptTokens: number, maxAnswerTokens: number) =>
      contextNotice(recipe({ maxPromptTokens, maxAnswerTokens }).prompt, TINY_SPEC);
    expect(notice(200, 57)).toBeNull();
    expect(notice(200, 58)).toBe(
      "prompt.maxPromptTokens 200 and maxAnswerTokens 58 are more than the 256 tokens that the model was made for: after a prompt of nearly that length it answers worse.",
    );
  });
});

describe("attentionNotice", () => {
  it("is for a causal recipe on a model that was trained otherwise", () => {
    const both = { ...TINY_SPEC, promptAttention: "both" } as const;
    const text = 'base: was trained with prompt.attention "both"; this recipe reads its prompts causally.';
    expect(attentionNotice(recipe({}), both)).toBe(text);
    expect(attentionNotice(recipe({ attention: "causal" }), both)).toBe(text);
    expect(attentionNotice(recipe({ attention: "both" }), both)).toBeNull();
    expect(attentionNotice(recipe({}), TINY_SPEC)).toBeNull();
    expect(attentionNotice(recipe({ attention: "both" }), TINY_SPEC)).toBeNull();
  });
});

describe("problemsOf", () => {
  it("gives a line for each problem, with title and hint, and throws what is no mistake of the user", () => {
    expect(problemsOf(new UserError("a is b.", { hint: "Try c." }))).toEqual(["a is b (Try c.)"]);
    expect(problemsOf(new UserErrors("file:", ["one", "two"]))).toEqual(["file: one", "file: two"]);
    expect(() => problemsOf(new TypeError("fault"))).toThrow("fault");
  });
});
