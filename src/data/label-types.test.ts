import { describe, expect, it } from "vitest";
import { createLabelSet, labelSetFromJson, labelSetToJson, withTypes } from "./label-set.ts";
import { labelsByTypes, maskedProbabilities } from "./label-types.ts";

const BASE = {
  labels: ["unknown", "收购", "被收购", "合作", "任职", "其他"],
  noRelation: "unknown",
  inverses: { 收购: "被收购" },
  symmetric: ["合作"],
};
const TYPES = {
  收购: [["公司", "公司"]],
  合作: [["公司", "人物"]],
  任职: [["人物", "*"]],
} as Record<string, [string, string][]>;

describe("type constraints", () => {
  it("follow for inverses and in both directions of symmetric labels", () => {
    const types = createLabelSet({ ...BASE, types: { ...TYPES, 收购: [["人物", "公司"]] } }, "labels").types;
    expect(types?.get("被收购")).toEqual([["公司", "人物"]]);
    expect(types?.get("合作")).toEqual([
      ["公司", "人物"],
      ["人物", "公司"],
    ]);
  });

  it("say which labels two types allow; unknown types allow all", () => {
    const allowed = labelsByTypes(createLabelSet({ ...BASE, types: { ...TYPES, 其他: [["a", "b"]] } }, "labels"));
    expect(Array.from(allowed("公司", "公司").mask ?? [])).toEqual([1, 1, 1, 0, 0, 0]);
    expect(Array.from(allowed("人物", "公司").mask ?? [])).toEqual([1, 0, 0, 1, 1, 0]);
    expect(allowed("地点", "地点")).toMatchObject({ hasRelation: false });
    expect(allowed(null, null)).toEqual({ mask: null, hasRelation: true });
    expect(Array.from(allowed(null, "地点").mask ?? [])).toEqual([1, 0, 0, 0, 1, 0]);
    expect(labelsByTypes(createLabelSet(BASE, "labels"))("地点", "地点")).toEqual({ mask: null, hasRelation: true });
  });

  it("are refused with every fault", () => {
    const types = {
      收构: [["a", "b"]],
      unknown: [["a", "b"]],
      收购: [["a", "b"]],
      被收购: [["a", "b"]],
    } as typeof TYPES;
    expect(() => createLabelSet({ ...BASE, types }, "labels.json")).toThrow(
      /types: "收构" is not one of the labels[\s\S]*types: "unknown" is the label of no relation[\s\S]*"收购" and its inverse "被收购" disagree/,
    );
    expect(() => labelSetFromJson({ ...BASE, types: { 收购: [["公司"]] } }, "labels.json")).toThrow("types.收购.0");
  });

  it("are written and read back, and given later", () => {
    const labels = createLabelSet({ ...BASE, types: TYPES }, "labels");
    expect(labelSetFromJson(JSON.parse(JSON.stringify(labelSetToJson(labels))), "again").types).toEqual(labels.types);
    expect(labelSetToJson(createLabelSet(BASE, "labels"))).not.toHaveProperty("types");
    expect(withTypes(createLabelSet(BASE, "labels"), JSON.stringify(TYPES), "types.json").types).toEqual(labels.types);
    expect(() => withTypes(labels, '{"x": [["a", "b"]]}', "types.json")).toThrow('"x" is not one of the labels');
  });
});

it("masked probabilities are those of the allowed labels alone", () => {
  const mask = Uint8Array.from([1, 0, 1]);
  expect(Array.from(maskedProbabilities(Float64Array.from([0.2, 0.5, 0.3]), mask))).toEqual([0.4, 0, 0.6]);
  expect(Array.from(maskedProbabilities(Float64Array.from([0, 1, 0]), mask))).toEqual([0.5, 0, 0.5]);
  expect(maskedProbabilities(Float64Array.from([Number.NaN, 1, 0]), mask)[0]).toBeNaN();
});
