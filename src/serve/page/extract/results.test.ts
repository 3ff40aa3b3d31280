import { describe, expect, it } from "vitest";
import { pageTriple, type TripleMention } from "./page-triple.ts";
import { createCollector, NO_RESULTS, withMention, withMoreTriples, withoutMention } from "./results.ts";

const TEXT = "远山收购近水。东风与远山合作。";
const mention = (start: number, end: number): TripleMention => {
  const text = TEXT.slice(start, end);
  return { text, id: text, name: text, type: null, start, end, startUtf16: start, endUtf16: end };
};
const [far, near, east, far2] = [mention(0, 2), mention(4, 6), mention(7, 9), mention(10, 12)];
const buys = pageTriple({
  ...{ document: "a", sentence: TEXT.slice(0, 7), sentenceStart: 0, head: far, tail: near },
  ...{ relation: "收购", probability: 0.9, run: "r" },
});
const works = pageTriple({
  ...{ document: "a", sentence: TEXT.slice(7), sentenceStart: 7, head: east, tail: far2 },
  ...{ relation: "合作", probability: 0.8, run: "r" },
});

function collected() {
  const { events, addTo } = createCollector();
  events.onDocument("a", TEXT);
  events.onMentions("a", [east, far2]);
  events.onTriple(works);
  events.onCounts({ pairs: 1 });
  return { events, addTo, results: addTo(NO_RESULTS) };
}

describe("results", () => {
  it("come in the order of the text, and what a person said stays while more come", () => {
    const { events, addTo, results } = collected();
    const judged = { ...results, triples: [{ ...works, verdict: "confirmed" as const }] };
    events.onMentions("a", [far, near]);
    events.onTriple(buys);
    events.onTriple(works);
    events.onCounts({ pairs: 2, truncated: 1 });
    events.onBadDocument("b", "is no text");
    const after = addTo(judged);
    expect(after.triples.map(({ label, verdict }) => [label, verdict])).toEqual([
      ["收购", null],
      ["合作", "confirmed"],
    ]);
    expect(after.documents[0].mentions).toEqual([far, near, east, far2]);
    expect(after.counts).toMatchObject({ pairs: 3, truncated: 1 });
    expect(after.badDocuments).toHaveLength(1);
    expect(addTo(after).triples).toBe(after.triples);
  });

  it("take a mention of a person's own, and lose what it overlaps", () => {
    const { results } = collected();
    const longer = mention(9, 12);
    const after = withMention(results, "a", longer);
    expect(after.documents[0].mentions).toEqual([east, longer]);
    expect(after.triples).toEqual([]);
    const judged = { ...results, triples: [{ ...works, verdict: "rejected" as const }] };
    expect(withoutMention(judged, "a", east).triples).toHaveLength(1);
    expect(withoutMention(results, "other", east)).toMatchObject({ triples: [works] });
    expect(withMoreTriples(results, [buys, works]).triples).toEqual([buys, works]);
  });
});
