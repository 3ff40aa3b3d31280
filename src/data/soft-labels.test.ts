import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Example } from "./example.ts";
import { readJsonl, readJsonlSplit } from "./jsonl.ts";
import { createLabelSet } from "./label-set.ts";
import { meanSoftLabels, readSoftLabels, sharesOf, softLabelsOf } from "./soft-labels.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-soft-labels-"));
afterAll(() => rmSync(folder, { recursive: true }));
const labels = createLabelSet({ labels: ["unknown", "收购", "合作"], noRelation: "unknown" }, "labels");
const known = new Set(labels.labels);
const row: Example = { sentence: "甲收购乙", head: "甲", tail: "乙" };

function file(...rows: object[]): string {
  const path = join(folder, "rows.jsonl");
  writeFileSync(path, rows.map((one) => `${JSON.stringify(one)}\n`).join(""));
  return path;
}

describe("soft labels", () => {
  it("are read with the relations of a labelled split, and only there", async () => {
    const soft = { ...row, relations: ["收购"], softLabels: { 收购: 0.75, unknown: 0.25 } };
    const { examples } = await readJsonlSplit(file(soft), labels);
    expect(examples).toEqual([soft]);
    for await (const { example } of readJsonl(file({ ...row, softLabels: "mine" }))) expect(example).toEqual(row);
  });

  it("that are no shares of the labels make a bad row", async () => {
    const expected = 'expected shares of labels that add up to 1, as {"A": 0.75, "B": 0.25}';
    expect(readSoftLabels([0.5, 0.5], known)).toBe(`got [0.5,0.5] as "softLabels", ${expected}`);
    expect(readSoftLabels({ 收购: 0.5 }, known)).toBe(`got "softLabels" that add up to 0.500, ${expected}`);
    expect(readSoftLabels({ 收购: 1.5, 合作: -0.5 }, known)).toBe(`got 1.5 for "收购" in "softLabels", ${expected}`);
    expect(readSoftLabels({ 买: 1 }, known)).toBe('got the label "买" in "softLabels", expected one of the 3 labels');
    expect(readSoftLabels(null, known)).toBeNull();
    const bad = file({ ...row, relations: ["收购"], softLabels: {} });
    await expect(readJsonlSplit(bad, labels)).rejects.toThrow('line 1: got "softLabels" that add up to 0.000');
  });

  it("of rows with equal input become their mean, in which a row without them counts as its label", async () => {
    const soft = { ...row, relations: ["收购"], softLabels: { 收购: 0.5, unknown: 0.5 } };
    const { examples } = await readJsonlSplit(file(soft, { ...row, relations: ["合作"] }, soft), labels);
    expect(examples).toHaveLength(1);
    expect(examples[0].relations).toEqual(["收购", "合作", "收购"]);
    expect(examples[0].softLabels).toEqual({ 收购: 0.333333, unknown: 0.333333, 合作: 0.333333 });
    expect(meanSoftLabels([{ ...row, relations: ["合作"] }])).toBeUndefined();
  });

  it("are shares in the order of the labels, and hard labels too", () => {
    expect([...sharesOf({ ...row, softLabels: { 收购: 0.75, unknown: 0.25 } }, labels.labels)]).toEqual([
      0.25, 0.75, 0,
    ]);
    expect([...sharesOf({ ...row, relations: ["收购", "合作", "收购"] }, labels.labels)]).toEqual([0, 2 / 3, 1 / 3]);
  });

  it("are written without zeros, the largest first", () => {
    expect(Object.entries(softLabelsOf(labels.labels, [1 / 3, 2 / 3, 0]))).toEqual([
      ["收购", 0.666667],
      ["unknown", 0.333333],
    ]);
  });
});
