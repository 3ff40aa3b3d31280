import { describe, expect, it } from "vitest";
import { markedParts } from "../charts/marked-sentence.tsx";
import { outcomeOf } from "./comparison.ts";
import { afterJudging, afterUndo, candidatesOf, movedTo, type QueueItem, queueOf, rowOf, verdictOf } from "./queue.ts";
import { rowsOfFile } from "./rows-file.ts";

const item = (sentence: string): QueueItem => ({
  ...{ sentence, head: "甲", tail: "乙", margin: 0.1 },
  predictions: [{ relation: "收购", probability: 0.5 }],
});
const judged = { id: "1", verdict: "confirmed" as const, relations: ["收购"] };

describe("the queue", () => {
  it("goes to the next item that is not judged, and back by undo", () => {
    let queue = queueOf([item("甲1乙"), item("甲2乙"), item("甲3乙")]);
    queue = afterJudging(queue, 0, judged);
    expect(queue.at).toBe(1);
    queue = afterJudging(movedTo(queue, 2), 2, judged);
    expect(queue.at).toBe(1);
    queue = afterJudging(queue, 1, judged);
    expect([queue.at, queue.judged.size]).toEqual([1, 3]);
    expect(afterUndo(queue, 0)).toMatchObject({ at: 0 });
    expect(afterUndo(queue, 0).judged.has(0)).toBe(false);
    expect([movedTo(queue, -1).at, movedTo(queue, 9).at, movedTo(queueOf([]), 3).at]).toEqual([0, 2, 0]);
  });

  it("makes rows that say what the choice is against the model's answer", () => {
    const model = [{ relation: "收购", probability: 0.5 }];
    expect(verdictOf(["收购"], model, "unknown")).toBe("confirmed");
    expect(verdictOf(["unknown"], model, "unknown")).toBe("rejected");
    expect(verdictOf(["收购", "合作"], model, "unknown")).toBe("corrected");
    expect(verdictOf(["合作"], undefined, null)).toBe("added");
    const run = { noRelation: "unknown", fingerprint: "f" };
    expect(rowOf(item("甲收购乙"), ["unknown"], run, undefined)).toEqual({
      ...{ sentence: "甲收购乙", head: "甲", tail: "乙", verdict: "rejected" },
      model: { fingerprint: "f", predictions: model },
    });
    expect(rowOf(item("甲收购乙"), ["合作"], run, "7")).toMatchObject({ id: "7", relations: ["合作"] });
    const candidates = candidatesOf(["unknown", "收购", "合作"], { 收购: 0.6, 合作: 0.4 });
    expect(candidates.map(({ label }) => label)).toEqual(["收购", "合作", "unknown"]);
    expect(candidatesOf(["a"], null)).toEqual([{ label: "a", probability: null }]);
  });
});

it("reads rows of files, and counts the lines that are none", () => {
  const good = {
    sentence: "甲收购乙",
    head: "甲",
    tail: "乙",
    headSpan: { start: 0, end: 1 },
    tailSpan: { start: 0, end: 1 },
  };
  const text = `\uFEFF${JSON.stringify(good)}\r\n\nno json\n{"sentence": "甲", "head": "乙", "tail": "甲"}\n${JSON.stringify(good)}\n`;
  const { headSpan } = good;
  const example = { sentence: "甲收购乙", head: "甲", tail: "乙", headSpan };
  expect(rowsOfFile(text, 1)).toEqual({ examples: [example], bad: 2, left: 1 });
  expect(rowsOfFile(JSON.stringify([good, 3]), 9)).toEqual({ examples: [example], bad: 1, left: 0 });
});

it("marks head and tail, by their places where they are known", () => {
  expect(markedParts({ sentence: "甲与乙与甲", head: "甲", tail: "乙", headSpan: [4, 5] })).toEqual([
    { text: "甲与" },
    { text: "乙", role: "tail" },
    { text: "与" },
    { text: "甲", role: "head" },
  ]);
  expect(markedParts({ sentence: "远山集团", head: "远山集团", tail: "远山" })).toEqual([
    { text: "远山集团", role: "head" },
  ]);
});

it("says of a comparison what its interval allows", () => {
  const outcome = (difference: number, low: number, high: number) => outcomeOf({ difference, interval: { low, high } });
  expect([outcome(0.1, 0.02, 0.2), outcome(-0.1, -0.2, -0.01)]).toEqual(["better", "worse"]);
  expect([outcome(0.1, -0.02, 0.2), outcome(0, 0, 0)]).toEqual(["unclear", "equal"]);
});
