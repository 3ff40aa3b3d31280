import { describe, expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { promptStyle } from "../prompts/relation-prompt.ts";
import { instructedStyle, readAnswer } from "./instruct.ts";

const labels = createLabelSet(
  {
    labels: ["unknown", "收购", "被收购", "合作"],
    noRelation: "unknown",
    definitions: {
      收购: { definition: "头实体买下\n尾实体", examples: [{ sentence: "甲买下乙。", head: "甲", tail: "乙" }] },
    },
  },
  "labels",
);
const EXAMPLE = { sentence: "远山与近水合作。", head: "远山", tail: "近水" };

describe("a prompt for models that were not fine-tuned", () => {
  it("begins with what all questions share: the task, labels with definitions, rows with answers", () => {
    const shot = { sentence: "丙被丁收购。", head: "丙", tail: "丁", relations: ["被收购"] };
    const style = instructedStyle(labels, [shot]);
    expect(style.renderQuery(EXAMPLE)).toBe(
      [
        "判断句子中头实体与尾实体之间的关系。只回答一个关系的名称，不要解释。\n可选的关系：",
        "- 收购：头实体买下 尾实体\n- 被收购\n- 合作\n- unknown：不属于以上任何一种\n",
        "句子：甲买下乙。\n头实体：甲\n尾实体：乙\n关系：收购\n",
        "句子：丙被丁收购。\n头实体：丙\n尾实体：丁\n关系：被收购\n",
        "句子：远山与近水合作。\n头实体：远山\n尾实体：近水\n关系：",
      ].join("\n"),
    );
    expect(style.answerFor(EXAMPLE, "合作")).toBe("合作");
  });

  const answers: [string, string[], boolean][] = [
    ["合作", ["合作"], true],
    ["关系：合作。", ["合作"], true],
    ["“被收购”", ["被收购"], true],
    ["答案是：**被收购**\n因为丁买下了丙。", ["被收购"], true],
    ["<think>可能是收购，也可能是合作</think>\n\n合作", ["合作"], true],
    ["<think>可能是收购", [], false],
    ["远山和近水之间是合作关系。", ["合作"], true],
    ["收购、合作", ["收购", "合作"], true],
    ["不是收购，而是合作", ["收购"], false],
    ["远山与近水的关系未说明", [], false],
    ["", [], false],
  ];
  it.each(answers)("reads %j", (text, relations, isWhole) => {
    const parsed = readAnswer(text, EXAMPLE, labels, instructedStyle(labels));
    expect(parsed.relations).toEqual(relations);
    // A name that is no label is reported as such.
    if (isWhole) expect([parsed.unparsed, parsed.unknownLabels]).toEqual([null, []]);
    else expect(parsed.unparsed !== null || parsed.unknownLabels.length > 0).toBe(true);
  });

  it("reads the answers of a recipe's style as that style does", () => {
    const paper = promptStyle("paper");
    expect(readAnswer("([远山],合作,[近水])", EXAMPLE, labels, paper)).toEqual({
      ...{ relations: ["合作"], unknownLabels: [], unparsed: null, otherEntities: 0 },
    });
    expect(readAnswer("两者是合作关系", EXAMPLE, labels, paper).relations).toEqual(["合作"]);
    expect(readAnswer("([远山],竞争,[近水])", EXAMPLE, labels, paper).unknownLabels).toEqual(["竞争"]);
  });
});
