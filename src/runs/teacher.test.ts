import { describe, expect, it } from "vitest";
import { createLabelSet } from "../data/label-set.ts";
import { DISTILL_DEFAULTS } from "../recipe/schema.ts";
import { labelledRows } from "./labelled-rows.ts";
import { encodeTaughtRows, softTeacher } from "./teacher.ts";

const labels = createLabelSet({ labels: ["unknown", "收购", "合作"], noRelation: "unknown" }, "labels");
const row = { sentence: "甲收购乙", head: "甲", tail: "乙", relations: ["收购"] };
const soft = { ...row, sentence: "甲和乙", softLabels: { 收购: 0.6, 合作: 0.395, unknown: 0.005 } };

/** Renders a label as its place. */
const renderer = {
  labels,
  renderPrompt: () => ({ ids: [7], truncated: false }),
  renderAnswer: (_: unknown, label: string) => [labels.labels.indexOf(label)],
  renderExample: ({ relations }: typeof row) => ({
    ...{ promptIds: [7], answerIds: relations.map((label) => labels.labels.indexOf(label)), truncated: false },
  }),
};

describe("the soft labels of rows", () => {
  it("are learned in the place of their relations; rows without them keep theirs", () => {
    const teacher = softTeacher([row, soft], labels);
    expect(teacher?.settings).toEqual({ ...DISTILL_DEFAULTS, goldWeight: 0 });
    const bench = { recipe: { train: { severalRelations: "separate" } }, renderer };
    const { encoded, notice } = encodeTaughtRows(bench as never, [row, soft], teacher as never);
    expect(notice).toBe("soft labels of 1 rows are learned: 2.00 answers a row; 1 rows have labels alone.");
    expect(encoded[0].answers).toBeUndefined();
    // Below 0.01 a label is left out.
    expect(encoded[1].answers?.map(({ ids, weight }) => [ids[0], Number(weight.toFixed(6))])).toEqual([
      [1, Number((0.6 / 0.995).toFixed(6))],
      [2, Number((0.395 / 0.995).toFixed(6))],
    ]);
  });

  it("are none where no row has any", () => {
    expect(softTeacher([row], labels)).toBeNull();
  });

  it("of a program's rows are checked, too", () => {
    const bad = { ...soft, softLabels: { 买: 1 } };
    expect(() => labelledRows([bad], labels, "data.train")).toThrow('row 1: got the label "买" in "softLabels"');
    expect(labelledRows([soft], labels, "data.train").examples).toEqual([soft]);
  });
});
