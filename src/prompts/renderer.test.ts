import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { type ChatTemplate, chatTemplates, templateText } from "./chat-template.ts";
import { promptStyles } from "./relation-prompt.ts";
import { createRenderer, type RendererOptions } from "./renderer.ts";
import { shortenSentence } from "./shorten.ts";

/** One id a character; like SentencePiece it sets a mark (id 3) before every text it is given. */
const tokenizer = {
  bosId: 1 as number | null,
  eosId: 2 as number | null,
  encode: (text: string) => [3, ...Array.from(text, (character) => 10 + (character.codePointAt(0) as number))],
  idOf: (piece: string) => ({ "<user>": 5, "<answer>": 6 })[piece] ?? null,
};
const textOf = (ids: number[]) => ids.map((id) => (id < 10 ? `<${id}>` : String.fromCodePoint(id - 10))).join("");

const LABELS = createLabelSet({ labels: ["无", "收购"], noRelation: "无" }, "labels");
const EXAMPLE: Example = { sentence: "昨天甲收购了乙。", head: "甲", tail: "乙", relations: ["收购", "无"] };

function renderer(options: Partial<RendererOptions> = {}) {
  return createRenderer({
    tokenizer,
    style: promptStyles.marked,
    template: chatTemplates.plain,
    labels: LABELS,
    maxPromptTokens: 1024,
    maxAnswerTokens: 512,
    addBos: true,
    ...options,
  });
}

describe("chat templates", () => {
  it("default is the text of the paper, each part tokenized on its own", () => {
    const system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";
    const query = "请根据给定句子和实体抽取其关系\n[甲][乙] ([甲],?,[乙])";
    expect(templateText(chatTemplates.default, query)).toBe(`${system}\nHuman: ${query}\nAssistant: `);
    const paper = renderer({ style: promptStyles.paper, template: chatTemplates.default });
    const prompt = paper.renderPrompt({ sentence: "甲乙", head: "甲", tail: "乙" });
    expect(prompt.text).toBe(`${system}\nHuman: ${query}\nAssistant: `);
    expect(textOf(prompt.ids)).toBe(`<1><3>${system}<3>\n<3>Human: ${query}\nAssistant: `);
    expect(prompt.truncated).toBe(false);
  });

  it("plain is the query and a line break", () => {
    expect(textOf(renderer().renderPrompt(EXAMPLE).ids)).toBe("<1><3>昨天[甲]收购了{乙}。\n[甲]{乙}\n");
  });

  it("gives special tokens as ids, the begin token only where the template has it, and the template's own end token", () => {
    const pieces = [
      { kind: "token", piece: "<user>" },
      { kind: "query", before: "", after: "" },
      { kind: "token", piece: "<answer>" },
    ] as const;
    const template: ChatTemplate = { name: "tokens", begin: "none", pieces, end: "<user>" };
    const prompt = renderer({ template }).renderPrompt({ sentence: "甲乙", head: "甲", tail: "乙" });
    expect(textOf(prompt.ids)).toBe("<5><3>[甲]{乙}\n[甲]{乙}<6>");
    expect(prompt.text).toBe("<user>[甲]{乙}\n[甲]{乙}<answer>");
    expect(renderer({ template }).eosId).toBe(5);
    expect(textOf(renderer({ template }).renderAnswer(EXAMPLE, "收购"))).toBe("<3>收购<5>");
  });

  it("a token that the tokenizer lacks is an error", () => {
    expect(() => renderer({ template: chatTemplates.qwen })).toThrow(
      'chat template "qwen": the tokenizer has no <|im_start|>, <|im_end|>.',
    );
  });
});

describe("renderer", () => {
  it("gives the same prompt ids with and without the answer, and ends the answer", () => {
    const { promptIds, answerIds, truncated } = renderer().renderExample(EXAMPLE);
    const { relations: _, ...unlabelled } = EXAMPLE;
    expect(promptIds).toEqual(renderer().renderPrompt(unlabelled).ids);
    expect(textOf(answerIds)).toBe("<3>收购,无<2>");
    expect(truncated).toBe(false);
    expect(textOf(renderer().renderAnswer(EXAMPLE, "收购"))).toBe("<3>收购<2>");
    expect(renderer().eosId).toBe(2);
  });

  it("parses with the labels it was made with", () => {
    expect(renderer().parse("收购,买", EXAMPLE)).toMatchObject({ relations: ["收购"], unknownLabels: ["买"] });
  });

  it("needs the special tokens that it uses", () => {
    expect(() => renderer({ tokenizer: { ...tokenizer, eosId: null } })).toThrow(
      "the tokenizer has no end token (EOS), expected one: answers must end.",
    );
    expect(() => renderer({ tokenizer: { ...tokenizer, bosId: null } })).toThrow(
      "the tokenizer has no begin token (BOS), expected one: the prompt begins with it.",
    );
    const { ids } = renderer({ tokenizer: { ...tokenizer, bosId: null }, addBos: false }).renderPrompt(EXAMPLE);
    expect(ids[0]).toBe(3);
  });

  it("names the example that has no relations or too long an answer", () => {
    const { relations: _, ...unlabelled } = EXAMPLE;
    expect(() => renderer().renderExample(unlabelled)).toThrow(
      'example "昨天甲收购了乙。" ("甲", "乙"): has no relations, expected at least one to learn from.',
    );
    expect(() => renderer({ maxAnswerTokens: 5 }).renderExample({ ...EXAMPLE, id: 4 })).toThrow(
      'example 4 "昨天甲收购了乙。" ("甲", "乙"): the answer "收购,无" has 6 tokens, expected at most 5.',
    );
  });
});

describe("a prompt that is too long", () => {
  const filler = "一二三四五六七八九十".repeat(20);
  const long: Example = { sentence: `${filler}甲${filler}乙${filler}`, head: "甲", tail: "乙" };

  it("keeps the entities, the question and the template, and the words around the entities that fit", () => {
    const prompt = renderer({ maxPromptTokens: 40 }).renderPrompt(long);
    expect(prompt.truncated).toBe(true);
    expect(prompt.text).toBe("六七八九十[甲]一二三四五…六七八九十{乙}一二三四五\n[甲]{乙}\n");
    expect(prompt.ids).toHaveLength(37);
    expect(renderer({ maxPromptTokens: 37 }).renderPrompt(long).ids).toHaveLength(37);
    expect(renderer({ maxPromptTokens: 36 }).renderPrompt(long).ids).toHaveLength(33);
    expect(renderer({ maxPromptTokens: 17 }).renderPrompt(long).text).toBe("[甲]…{乙}\n[甲]{乙}\n");
  });

  it("keeps one piece when the entities are adjacent", () => {
    const near = { sentence: `${filler}甲的乙${filler}`, head: "甲", tail: "乙" };
    expect(renderer({ maxPromptTokens: 25 }).renderPrompt(near).text).toBe("七八九十[甲]的{乙}一二三四\n[甲]{乙}\n");
  });

  it("is an error for that example when even the entities do not fit", () => {
    expect(() => renderer({ maxPromptTokens: 15 }).renderPrompt({ ...long, id: "r1" })).toThrow(
      /^example "r1" "一二.*"… \("甲", "乙"\): the prompt has 17 tokens with the entities alone, expected at most 15\.$/,
    );
  });

  it("always fits, holds both entities, and moves the spans along", () => {
    const character = fc.constantFrom(..."甲乙丙𠮷,[");
    const text = (minLength: number, maxLength: number) => fc.string({ unit: character, minLength, maxLength });
    fc.assert(
      fc.property(
        text(0, 60),
        text(1, 4),
        text(0, 60),
        text(1, 4),
        text(0, 60),
        fc.nat(30),
        fc.boolean(),
        (...parts) => {
          const [before, head, between, tail, after, extra, hasSpans] = parts;
          const sentence = before + head + between + tail + after;
          const headSpan = { start: before.length, end: before.length + head.length };
          const tailStart = headSpan.end + between.length;
          const spans = { headSpan, tailSpan: { start: tailStart, end: tailStart + tail.length } };
          const row: Example = { sentence, head, tail, ...(hasSpans ? spans : {}) };
          const maxPromptTokens = 60 + extra;
          for (const style of Object.values(promptStyles)) {
            const limited = renderer({ style, maxPromptTokens: maxPromptTokens + style.instruction.length });
            const whole = renderer({ style }).renderPrompt(row);
            const { ids, truncated } = limited.renderPrompt(row);
            expect(ids.length).toBeLessThanOrEqual(maxPromptTokens + style.instruction.length);
            expect(truncated).toBe(whole.ids.length > maxPromptTokens + style.instruction.length);
          }
          for (const reach of [0, 1, extra]) {
            const short = shortenSentence(row, reach);
            expect(/\p{Surrogate}/u.test(short.sentence)).toBe(false);
            expect(short.sentence).toContain(head);
            expect(short.sentence).toContain(tail);
            if (!hasSpans) continue;
            expect(short.sentence.slice(short.headSpan?.start, short.headSpan?.end)).toBe(head);
            expect(short.sentence.slice(short.tailSpan?.start, short.tailSpan?.end)).toBe(tail);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("keeps the two nearest mentions", () => {
    const row = { sentence: `甲${filler}乙${filler}甲的乙${filler}甲`, head: "甲", tail: "乙" };
    expect(shortenSentence(row, 1).sentence).toBe("十甲的乙一");
  });

  it("costs what fits, not what is left out", () => {
    let encodedChars = 0;
    const counting = {
      ...tokenizer,
      encode(text: string) {
        encodedChars += text.length;
        return tokenizer.encode(text);
      },
    };
    const huge = { sentence: `甲${"长".repeat(300_000)}乙`, head: "甲", tail: "乙" };
    renderer({ tokenizer: counting, maxPromptTokens: 100 }).renderPrompt(huge);
    expect(encodedChars).toBeLessThan(302_000);
  });
});
