import { describe, expect, it } from "vitest";
import { labelSetFromJson, labelSetToJson, withTypes } from "./label-set.ts";

const json = {
  labels: ["unknown", "收购", "合作"],
  noRelation: "unknown",
  definitions: {
    收购: { definition: "头实体买下尾实体", examples: [{ sentence: "甲买下乙", head: "甲", tail: "乙" }] },
    合作: "双方合作",
  },
};

describe("the definitions of labels.json", () => {
  it("are read, and written as they were", () => {
    const labels = labelSetFromJson(json, "labels.json");
    expect(labels.definitions?.get("合作")).toEqual({ definition: "双方合作", examples: [] });
    expect(labels.definitions?.get("收购")?.examples).toHaveLength(1);
    expect(labelSetToJson(labels).definitions).toEqual(json.definitions);
    expect(withTypes(labels, '{"收购": [["公司", "公司"]]}', "types.json").definitions).toEqual(labels.definitions);
  });

  it("are absent where the file has none", () => {
    expect(labelSetToJson(labelSetFromJson({ labels: ["A"] }, "labels.json"))).not.toHaveProperty("definitions");
  });

  it("are closed, and every fault is listed", () => {
    const read = (definitions: unknown) => labelSetFromJson({ ...json, definitions }, "labels.json");
    expect(() =>
      read({ 收够: "买", 合作: " ", 收购: { definition: "买", examples: [{ ...EXAMPLE, tail: "丙" }] } }),
    ).toThrow(
      [
        "labels.json: the labels cannot be used:",
        '  - definitions: "收够" is not one of the labels, did you mean "收购"?',
        '  - definitions: "合作" has an empty definition, expected text',
        '  - definitions: "收购", example 1: got the tail "丙", expected a part of the sentence "甲买下乙"',
      ].join("\n"),
    );
    expect(() => read({ 收购: { definition: "买", exmaples: [] } })).toThrow(
      'definitions.收购.exmaples — unknown key, did you mean "examples"?',
    );
    expect(() => read({ 收购: { definition: "买", examples: Array(21).fill(EXAMPLE) } })).toThrow(
      "definitions.收购.examples",
    );
    expect(() => read({ 收购: "买".repeat(2001) })).toThrow("definitions.收购");
  });
});

const EXAMPLE = { sentence: "甲买下乙", head: "甲", tail: "乙" };
