import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  chineseNreLabelSet,
  createLabelSet,
  labelSetFromJson,
  labelSetToJson,
  parseLabelsJson,
  parseRelation2id,
} from "./label-set.ts";

const FINRE_LABELS = [
  ...["unknown", "自己", "重组", "签约", "交易", "合作", "商讨", "合并", "竞争", "订单", "合资", "纠纷"],
  ...["收购", "被收购", "拟收购", "被拟收购"],
];

describe("parseRelation2id", () => {
  it("takes spaces (FinRE) and TABs (SanWen), CRLF, and a last line without an end", () => {
    expect(parseRelation2id("unknown 0\r\n注资 1\r\n被拟收购 2", "r")).toEqual(["unknown", "注资", "被拟收购"]);
    expect(parseRelation2id("unknown\t0\r\nPart-Whole\t1\r\n", "r")).toEqual(["unknown", "Part-Whole"]);
  });

  it("orders by number and allows spaces inside a label", () => {
    expect(parseRelation2id("born in 2\nnone 0\n\nlives 1\n", "r")).toEqual(["none", "lives", "born in"]);
  });

  it("lists every fault with its line", () => {
    const text = `a 0\nb\na 2\nc 0\n${"x".repeat(500)} 9\n`;
    expect(() => parseRelation2id(text, "dir/relation2id.txt")).toThrow(
      [
        "dir/relation2id.txt: the list of relations cannot be used:",
        '  - dir/relation2id.txt, line 2: got "b", expected a label, a TAB or a space, and a number',
        '  - dir/relation2id.txt, line 3: the label "a" is already on line 1',
        '  - dir/relation2id.txt, line 4: the number 0 already belongs to "a"',
        `  - dir/relation2id.txt, line 5: got "${"x".repeat(40)}"…, expected a label, a TAB or a space, and a number`,
      ].join("\n"),
    );
    expect(() => parseRelation2id("\n \n", "r")).toThrow("r: is empty, expected lines of a label and a number.");
  });

  it("takes no more than linear time on a hostile line", () => {
    const startMs = performance.now();
    expect(() => parseRelation2id(`a${" ".repeat(1_000_000)}b`, "r")).toThrow("expected a label");
    expect(performance.now() - startMs).toBeLessThan(500);
  });
});

describe("chineseNreLabelSet", () => {
  it("pairs X with 被X and takes FinRE's other labels as symmetric", () => {
    const labels = chineseNreLabelSet(FINRE_LABELS, "r");
    expect(labels.noRelation).toBe("unknown");
    expect(labels.inverses.get("拟收购")).toBe("被拟收购");
    expect(labels.inverses.get("被拟收购")).toBe("拟收购");
    expect(labels.inverses.get("被收购")).toBe("收购");
    expect(labels.inverses.get("合作")).toBe("合作");
    expect(labels.inverses.get("unknown")).toBe("unknown");
    expect(labels.inverses.size).toBe(FINRE_LABELS.length);
  });

  it("declares nothing symmetric for other label lists, SanWen's among them", () => {
    expect(chineseNreLabelSet(["unknown", "Family", "Near"], "r").inverses.size).toBe(0);
    const other = chineseNreLabelSet(["none", "收购", "被收购", "合作"], "r");
    expect([...other.inverses.keys()].sort()).toEqual(["收购", "被收购"].sort());
    expect(other.noRelation).toBeNull();
  });
});

describe("createLabelSet", () => {
  it("accepts an inverse named from one side or from both", () => {
    for (const inverses of [{ A: "B" }, { A: "B", B: "A" }] as Record<string, string>[]) {
      const labels = createLabelSet({ labels: ["A", "B", "C"], inverses, symmetric: ["C"] }, "x");
      expect([...labels.inverses].sort()).toEqual([
        ["A", "B"],
        ["B", "A"],
        ["C", "C"],
      ]);
    }
  });

  it("reports all faults together", () => {
    const make = () =>
      createLabelSet(
        {
          labels: ["A", "A", " B", "a,b", "", "line\nbreak", "x".repeat(201)],
          noRelation: "none",
          inverses: { A: "relatlon" },
          symmetric: ["A"],
        },
        "labels.json",
      );
    expect(make).toThrow(
      [
        "labels.json: the labels cannot be used:",
        '  - label " B": expected text without spaces around it',
        '  - label "a,b": has a comma or a control character, expected neither',
        '  - label "": expected text without spaces around it',
        '  - label "line\\nbreak": has a comma or a control character, expected neither',
        `  - label "${"x".repeat(40)}"…: is longer than 200 characters`,
        '  - label "A": is given 2 times, expected once',
        '  - noRelation: "none" is not one of the labels',
        '  - inverses: "relatlon" is not one of the labels',
        '  - symmetric: the inverse of "A" is "A" and "relatlon", expected one',
      ].join("\n"),
    );
  });

  it("names the nearest label, and refuses none and too many", () => {
    expect(() => createLabelSet({ labels: ["unknown"], noRelation: "unknwon" }, "x")).toThrow(
      'noRelation: "unknwon" is not one of the labels, did you mean "unknown"?',
    );
    expect(() => createLabelSet({ labels: [] }, "x")).toThrow("x: has no labels, expected at least one.");
    const labels = Array.from({ length: 10_001 }, (_, i) => `L${i}`);
    expect(() => createLabelSet({ labels }, "x")).toThrow("x: has 10001 labels, expected at most 10000.");
  });
});

describe("the JSON form", () => {
  it("reads back what it writes", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.stringMatching(/^[a-z收购被]{1,6}$/), { minLength: 3, maxLength: 9 }), (names) => {
        const parts = {
          labels: names,
          noRelation: names[0],
          inverses: { [names[1]]: names[2] },
          symmetric: names.slice(3, 5),
        };
        const labels = createLabelSet(parts, "x");
        expect(labelSetFromJson(JSON.parse(JSON.stringify(labelSetToJson(labels))), "y")).toEqual(labels);
      }),
    );
  });

  it("refuses unknown keys, wrong types and text that is not JSON", () => {
    const wrong = { labels: ["a"], norelation: "a", symmetric: "a" };
    expect(() => labelSetFromJson(wrong, "labels.json")).toThrow(
      /norelation — unknown key, did you mean "noRelation"\?/,
    );
    expect(() => labelSetFromJson(wrong, "labels.json")).toThrow(/symmetric is "a"/);
    expect(() => parseLabelsJson("{", "labels.json")).toThrow(/^labels\.json: is not JSON/);
  });

  it("refuses 10,000 labels with unknown inverses, or each given twice, within seconds", () => {
    const labels = Array.from({ length: 10_000 }, (_, i) => `关系${i}号标签`);
    const inverses = Object.fromEntries(labels.map((label, i) => [label, `相反${i}号标签`]));
    const started = performance.now();
    expect(() => createLabelSet({ labels, inverses, symmetric: Object.values(inverses) }, "labels.json")).toThrow(
      "… and",
    );
    expect(() => createLabelSet({ labels: [...labels.slice(5000), ...labels.slice(5000)] }, "labels.json")).toThrow(
      "is given 2 times",
    );
    expect(performance.now() - started).toBeLessThan(3000);
  });
});
