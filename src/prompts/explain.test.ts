import { describe, expect, it } from "vitest";
import { TINY_LABELS, TOKENIZER } from "../../test/tiny-extractor.ts";
import { openTokenizer } from "../tokenizers/open-tokenizer.ts";
import { chatTemplate } from "./chat-template.ts";
import { explainQuestion } from "./explain.ts";
import { promptStyle } from "./relation-prompt.ts";
import { createRenderer, type Renderer } from "./renderer.ts";

const tokenizer = await openTokenizer(TOKENIZER);
const example = { sentence: "远山收购近水", head: "远山", tail: "近水", relations: ["收购"] };

function rendererOf(style: string, addBos: boolean, maxPromptTokens = 200): Renderer {
  const [template, labels] = [chatTemplate("plain"), TINY_LABELS];
  return createRenderer({
    tokenizer,
    style: promptStyle(style),
    template,
    labels,
    maxPromptTokens,
    maxAnswerTokens: 40,
    addBos,
  });
}

describe("explainQuestion", () => {
  it("names every token of the prompt and of each label's answer", () => {
    const renderer = rendererOf("paper", true);
    const { prompt, answers } = explainQuestion(renderer, tokenizer, example);
    expect(prompt.text).toBe("<s>请根据给定句子和实体抽取其关系\n[远山]收购[近水] ([远山],?,[近水])\n");
    expect(prompt.tokens.map(({ id }) => id)).toEqual(renderer.renderPrompt(example).ids);
    expect(prompt.tokens[0]).toEqual({ id: tokenizer.bosId, piece: "<s>" });
    expect(tokenizer.decode(prompt.tokens.map(({ id }) => id))).toBe(prompt.text.slice("<s>".length));
    expect(answers.map(({ label }) => label)).toEqual(TINY_LABELS.labels);
    for (const { label, text, tokens, isGold } of answers) {
      expect([text, isGold]).toEqual([`([远山],${label},[近水])`, label === "收购"]);
      expect(tokens.map(({ id }) => id)).toEqual(renderer.renderAnswer(example, label));
      expect(tokens.at(-1)?.piece).toBe("</s>");
    }
  });

  it("shows no begin token where the prompt has none, and says when the sentence was shortened", () => {
    const { prompt } = explainQuestion(rendererOf("marked", false), tokenizer, example);
    expect(prompt).toMatchObject({ text: "[远山]收购{近水}\n[远山]{近水}\n", truncated: false });
    const long = { ...example, sentence: `${"很久以前".repeat(50)}远山收购近水` };
    const shortened = explainQuestion(rendererOf("marked", true, 60), tokenizer, long).prompt;
    expect(shortened.truncated).toBe(true);
    expect(shortened.tokens.length).toBeLessThanOrEqual(60);
    expect(shortened.text).toMatch(/^<s>(?!很久以前很).*\[远山\]收购\{近水\}\n/);
  });
});
