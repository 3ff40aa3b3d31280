import { describe, expect, it } from "vitest";
import { labelSetFromJson } from "../data/label-set.ts";
import { allowedLabels, annotationPrompts } from "./annotation-prompt.ts";

const labels = labelSetFromJson(
  {
    labels: ["unknown", "收购", "被收购", "合作"],
    noRelation: "unknown",
    inverses: { 收购: "被收购" },
    symmetric: ["合作"],
    definitions: {
      收购: { definition: "头实体买下尾实体", examples: [{ sentence: "甲买下乙。", head: "甲", tail: "乙" }] },
    },
  },
  "labels.json",
);
const example = { sentence: "远山与近水合作。", head: "远山", tail: "近水" };

describe("the annotation prompt", () => {
  it("has task, labels with definitions and examples, rules, and the question", () => {
    const { rules, question } = annotationPrompts(labels)(example, null);
    expect(rules + question).toBe(
      [
        "请阅读句子，判断头实体与尾实体之间的关系，从下面的关系列表中选出最符合句意的一个。",
        "",
        "关系列表：",
        "- unknown：以上关系均不成立",
        "- 收购：头实体买下尾实体",
        "  例：甲买下乙。（头实体：甲；尾实体：乙）",
        "- 被收购",
        "- 合作",
        "",
        "标注要求：",
        "1. 只依据句子本身判断，不引入句外知识，也不作推测。",
        "2. 关系有方向，一律以“头实体→尾实体”为准。",
        "3. “收购”与“被收购”互为逆关系：头、尾实体互换，关系名也随之互换。",
        "4. 句子没有说明两者之间存在列表中的其他关系时，答“unknown”。",
        "5. 只输出一个关系名，不要解释。",
        "",
        "句子：远山与近水合作。",
        "头实体：远山",
        "尾实体：近水",
        "关系：",
      ].join("\n"),
    );
  });

  it("names only the labels that may hold", () => {
    const mask = Uint8Array.of(0, 1, 0, 1);
    const { rules } = annotationPrompts(labels)(example, mask);
    expect(allowedLabels(labels, mask)).toEqual(["收购", "合作"]);
    expect(rules).not.toContain("被收购");
    expect(rules).not.toContain("unknown");
  });

  it("marks the mention that is meant where a name occurs several times", () => {
    const ask = annotationPrompts(labels);
    const sentence = "远山的人说远山与近水合作。";
    const meant = {
      sentence,
      head: "远山",
      tail: "近水",
      headSpan: { start: 5, end: 7 },
      tailSpan: { start: 8, end: 10 },
    };
    expect(ask(meant, null).question).toContain(
      "句子（<头>、<尾>标出了所指的位置）：远山的人说<头>远山</头>与近水合作。\n",
    );
    expect(ask({ sentence, head: "远山", tail: "近水" }, null).question).toContain(`句子：${sentence}\n`);
    const crossing = {
      sentence: "甲乙甲乙甲",
      head: "甲乙甲",
      tail: "甲",
      headSpan: { start: 0, end: 3 },
      tailSpan: { start: 2, end: 3 },
    };
    expect(ask({ ...crossing, head: "甲乙", headSpan: { start: 0, end: 2 } }, null).question).toContain(
      "<头>甲乙</头><尾>甲</尾>乙甲",
    );
    expect(ask(crossing, null).question).toContain("甲乙<尾>甲</尾>乙甲");
  });
});
