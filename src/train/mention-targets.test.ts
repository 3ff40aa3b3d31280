import { describe, expect, it } from "vitest";
import { encodeMentions, mentionsBySentence } from "./mention-targets.ts";

const row = (sentence: string, head: string, tail: string) => ({ sentence, head, tail, relations: ["r"] });
const rows = [
  row("甲收购乙", "甲", "乙"),
  row("甲收购乙", "乙", "甲"),
  row("丙与丁和戊", "丙", "丁"),
  row("丙与丁和戊", "丙", "戊"),
];
const renderer = {
  renderMentionPrompt: (sentence: string) => ({
    ids: [sentence.length],
    text: sentence,
    truncated: sentence.length > 4,
  }),
  renderMention: (text: string) => (text === "戊" ? null : [text.codePointAt(0) as number, 2]),
};

describe("the targets of mentions", () => {
  it("are the entities of each sentence's rows", () => {
    expect([...mentionsBySentence(rows)]).toEqual([
      ["甲收购乙", ["甲", "乙"]],
      ["丙与丁和戊", ["丙", "丁", "戊"]],
    ]);
  });

  it("are one example a sentence whose answers have equal shares; what is too long is counted", () => {
    const { encoded, truncated, left } = encodeMentions(renderer, rows);
    expect(encoded.map(({ promptIds }) => Array.from(promptIds))).toEqual([[4], [5]]);
    for (const { answers = [] } of encoded) expect(answers.map(({ weight }) => weight)).toEqual([0.5, 0.5]);
    expect(encoded.every(({ copiesPrompt }) => copiesPrompt)).toBe(true);
    expect([truncated, left]).toEqual([1, 1]);
    const none = encodeMentions({ ...renderer, renderMention: () => null }, rows);
    expect([none.encoded.length, none.left]).toEqual([0, 5]);
  });
});
