import { describe, expect, it } from "vitest";
import type { Example } from "../data/example.ts";
import { FEATURE_GROUPS, nearestMentions, rowHashes } from "./features.ts";

const SETTINGS = { maxNgram: 4, windowCharacters: 3 };
const example = (sentence: string, head: string, tail: string): Example => ({ sentence, head, tail });
const groupOf = (row: Example, group: (typeof FEATURE_GROUPS)[number], settings = SETTINGS) =>
  rowHashes(row, settings)[FEATURE_GROUPS.indexOf(group)];

describe("nearestMentions", () => {
  it("picks the nearest pair of occurrences", () => {
    expect(nearestMentions(example("甲某人说甲和乙", "甲", "乙"))).toEqual({
      first: { start: 4, end: 5 },
      second: { start: 6, end: 7 },
      headFirst: true,
    });
  });

  it("prefers separate mentions to overlapping ones, and accepts overlapping ones", () => {
    expect(nearestMentions(example("刚泰控股里有刚泰", "刚泰", "刚泰控股"))?.headFirst).toBe(false);
    expect(nearestMentions(example("刚泰控股", "刚泰", "刚泰控股"))?.second).toEqual({ start: 0, end: 4 });
  });

  it("keeps to the spans and finds nothing where a name is missing", () => {
    const spans = { headSpan: { start: 0, end: 1 }, tailSpan: { start: 2, end: 3 } };
    expect(nearestMentions({ ...example("甲甲乙", "甲", "乙"), ...spans })?.first).toEqual({ start: 0, end: 1 });
    expect(nearestMentions(example("甲说", "甲", "乙"))).toBeNull();
  });
});

describe("rowHashes", () => {
  it("are distinct, ascending and the same each time", () => {
    const row = example("甲收购收购收购乙。", "甲", "乙");
    for (const hashes of rowHashes(row, SETTINGS))
      expect([...hashes]).toEqual([...new Set(hashes)].sort((a, b) => a - b));
    expect(rowHashes(row, SETTINGS)).toEqual(rowHashes(row, SETTINGS));
  });

  it("have the n-grams of a name with its edges", () => {
    // 甲乙 between two equal edges: 3 + 3 + 2 + 1 distinct n-grams, 3 + 3 of them of at most two characters.
    expect(groupOf(example("甲乙和丙", "甲乙", "丙"), "head")).toHaveLength(9);
    expect(groupOf(example("甲乙和丙", "甲乙", "丙"), "head", { ...SETTINGS, maxNgram: 2 })).toHaveLength(6);
  });

  it("tell the two directions apart in the words between and in the sentence", () => {
    const forward = example("甲收购乙。", "甲", "乙");
    const backward = example("甲收购乙。", "乙", "甲");
    for (const group of ["between", "left", "right", "sentence", "layout"] as const) {
      const shared = new Set(groupOf(forward, group));
      const common = groupOf(backward, group).filter((hash) => shared.has(hash));
      expect(common.length, group).toBeGreaterThan(0);
      expect(common.length, group).toBeLessThan(shared.size);
    }
  });

  it("do not depend on the names outside of the names' groups", () => {
    const a = rowHashes(example("昨日甲收购乙。", "甲", "乙"), SETTINGS);
    const b = rowHashes(example("昨日丙丁收购戊己。", "丙丁", "戊己"), SETTINGS);
    for (const group of ["between", "left", "right", "sentence", "layout"] as const) {
      expect(a[FEATURE_GROUPS.indexOf(group)], group).toEqual(b[FEATURE_GROUPS.indexOf(group)]);
    }
  });

  it("read no further than the window", () => {
    const near = groupOf(example("天地玄黄甲和乙。", "甲", "乙"), "left");
    expect(groupOf(example("日月玄黄甲和乙。", "甲", "乙"), "left")).not.toEqual(near);
    expect(groupOf(example("日地玄黄甲和乙。", "甲", "乙"), "left")).toEqual(near);
  });

  it("take no time to speak of on a long row of mentions", () => {
    const start = performance.now();
    rowHashes(example(`${"甲乙".repeat(30_000)}`, "甲", "乙"), SETTINGS);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it("leave out what needs mentions when a name is missing", () => {
    const lengths = rowHashes(example("甲说", "甲", "乙"), SETTINGS).map((hashes) => hashes.length > 0);
    expect(lengths).toEqual([false, false, false, true, true, true, true, false, false, true]);
  });

  it("have the clauses of the mentions, and nothing of the others", () => {
    const alone = groupOf(example("甲收购乙。", "甲", "乙"), "clause");
    const amid = groupOf(example("昨日下雨，甲收购乙，丙不知道。", "甲", "乙"), "clause");
    expect(amid).toEqual(alone);
    const reversed = new Set(groupOf(example("甲收购乙。", "乙", "甲"), "clause"));
    expect(alone.filter((hash) => !reversed.has(hash)).length).toBeGreaterThan(0);
  });

  it("count the clauses and the sentences that end between the mentions", () => {
    const differing = (between: string, other: string) => {
      const hashesOf = (text: string) =>
        groupOf({ ...example(`甲${text}乙`, "甲", "乙") }, "clause", { ...SETTINGS, maxNgram: 1 });
      const others = new Set(hashesOf(other));
      return hashesOf(between).filter((hash) => !others.has(hash)).length;
    };
    // The character itself; then the clauses, with them the sentences, and both together.
    expect(differing("、", "的")).toBe(1);
    expect(differing("，", "的")).toBe(3);
    expect(differing("；", "的")).toBe(4);
    expect(differing("；", "，")).toBe(3);
  });

  it("tell what the names have in common, whatever the sentence is", () => {
    const kinds = (head: string, tail: string) => groupOf(example("无关的句子", head, tail), "kinds");
    expect(kinds("张三", "张四")).not.toEqual(kinds("张三", "李四"));
    expect(kinds("平安", "平安银行")).not.toEqual(kinds("平安银行", "平安"));
    // The same lengths and last characters, and nothing in common.
    expect(kinds("远山公司", "近水银行")).toEqual(kinds("高原公司", "低地银行"));
    const shared = new Set(kinds("远山公司", "近水银行"));
    expect(kinds("远山公司", "近水大学").some((hash) => shared.has(hash))).toBe(true);
  });
});
