import { describe, expect, it } from "vitest";
import { csv, jsonLines } from "./exported.ts";
import { labelCounts, NO_FILTER, shownTriples, sortedTriples } from "./filter.ts";
import { type Edit, edited, rowOfPair } from "./judge.ts";
import { addedTriple, type PageTriple, pageTriple, type TripleMention } from "./page-triple.ts";

const SENTENCE = "远山集团收购近水公司，与东风公司合作。";

function mention(text: string): TripleMention {
  const start = SENTENCE.indexOf(text);
  const end = start + text.length;
  return { text, id: text, name: text, type: null, start, end, startUtf16: start, endUtf16: end };
}

function triple(head: string, relation: string, tail: string, probability: number): PageTriple {
  const places = { document: "text", sentence: SENTENCE, sentenceStart: 0, head: mention(head), tail: mention(tail) };
  return pageTriple({ ...places, relation, probability, run: "f00d" });
}

const buys = triple("远山集团", "收购", "近水公司", 0.9);
const works = triple("远山集团", "合作", "东风公司", 0.6);
const owns = triple("近水公司", "持股", "东风公司", 0.3);
const all = [buys, works, owns];
const place = { text: SENTENCE, start: 0, startPoints: 0 };
const added = addedTriple("text", place, mention("东风公司"), mention("近水公司"), "竞争");
const heads = (triples: readonly PageTriple[]) => triples.map(({ head, tail }) => `${head.text} ${tail.text}`);
const withEdits = (triples: readonly PageTriple[], ...edits: Edit[]) => edits.reduce(edited, triples);

describe("filters and order", () => {
  it("show by label, probability, entity and verdict", () => {
    const shown = (filter: object) => shownTriples([...all, added], { ...NO_FILTER, ...filter });
    expect(shown({})).toHaveLength(4);
    expect(shown({ labels: new Set(["收购", "竞争"]) })).toEqual([buys, added]);
    expect(shown({ leastProbability: 0.5 })).toEqual([buys, works, added]);
    const judged = { ...owns, verdict: "confirmed" as const };
    expect(shownTriples([judged], { ...NO_FILTER, leastProbability: 0.5 })).toEqual([judged]);
    expect(shown({ entity: " 东风 " })).toEqual([works, owns, added]);
    expect(shown({ state: "judged" })).toEqual([added]);
    expect(shown({ state: "open" })).toEqual(all);
  });

  it("sort, with equal ones in the order of the text", () => {
    expect(heads(sortedTriples(all, { by: "probability", isDown: false }))).toEqual(heads([owns, works, buys]));
    expect(heads(sortedTriples(all, { by: "head", isDown: false }))).toEqual(heads([owns, buys, works]));
    expect(heads(sortedTriples(all, { by: "head", isDown: true }))).toEqual(heads([buys, works, owns]));
    expect(heads(sortedTriples(all, { by: "place", isDown: true }))).toEqual(heads([owns, works, buys]));
    expect(labelCounts([...all, { ...owns, label: "合作" }])[0]).toEqual(["合作", 2]);
  });
});

describe("what a person says", () => {
  it("changes one relation, and can be taken back", () => {
    const { key } = buys;
    const once = withEdits(all, { kind: "correct", key, label: "持股" });
    expect(once[0]).toMatchObject({ label: "持股", relation: "收购", verdict: "corrected" });
    expect(withEdits(once, { kind: "correct", key, label: "收购" })[0]).toMatchObject({ verdict: "confirmed" });
    expect(withEdits(once, { kind: "reject", key })[0]).toMatchObject({ label: "收购", verdict: "rejected" });
    expect(withEdits(once, { kind: "undo", key })).toEqual(all);
    expect(withEdits(all, { kind: "confirm", key: "none" })).toBe(all);
    expect(withEdits([added], { kind: "undo", key: added.key })).toEqual([]);
    expect(withEdits([added], { kind: "correct", key: added.key, label: "合作" })[0].label).toBe("合作");
  });

  it("becomes a row of the pair, with the answer of the model", () => {
    const model = { fingerprint: "f00d", predictions: [{ relation: "收购", probability: 0.9 }] };
    const places = { head: "远山集团", tail: "近水公司", headSpan: [0, 4], tailSpan: [6, 10], sentence: SENTENCE };
    const row = (...edits: Edit[]) => rowOfPair(withEdits([buys], ...edits));
    const { key } = buys;
    expect(row()).toBeNull();
    expect(row({ kind: "confirm", key })).toEqual({ ...places, verdict: "confirmed", relations: ["收购"], model });
    expect(row({ kind: "reject", key })).toEqual({ ...places, verdict: "rejected", model });
    expect(row({ kind: "correct", key, label: "持股" })).toEqual({
      ...{ ...places, verdict: "corrected", relations: ["持股"], model },
    });
    expect(rowOfPair([added])).toMatchObject({ verdict: "added", relations: ["竞争"], head: "东风公司" });
  });

  it("counts all relations of a pair", () => {
    const second = triple("远山集团", "持股", "近水公司", 0.5);
    const rejected = withEdits([buys, second], { kind: "reject", key: second.key });
    expect(rowOfPair(rejected)).toMatchObject({ verdict: "corrected", relations: ["收购"] });
    const both = withEdits([buys, second], { kind: "confirm", key: buys.key });
    expect(rowOfPair(both)).toMatchObject({ verdict: "confirmed", relations: ["收购", "持股"] });
  });
});

describe("exports", () => {
  it("have the label that holds, and the one of the model", () => {
    const shown = withEdits([buys, added], { kind: "correct", key: buys.key, label: "持股" });
    const [first, second] = jsonLines(shown)
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(first).toMatchObject({ relation: "持股", modelRelation: "收购", verdict: "corrected", probability: 0.9 });
    expect(second).toMatchObject({ relation: "竞争", verdict: "added" });
    expect(second).not.toHaveProperty("probability");
  });

  it("are safe in a spreadsheet", () => {
    const hostile = { ...buys, document: '=HYPERLINK("x")', sentence: '他说："远山,\n近水"' };
    const lines = csv([hostile]);
    expect(lines.startsWith("\ufeffdocument,head,")).toBe(true);
    expect(lines).toContain(
      `"'=HYPERLINK(""x"")",远山集团,,收购,近水公司,,0.9,,收购,"他说：""远山,\n近水""",0,4,6,10\r\n`,
    );
  });
});
