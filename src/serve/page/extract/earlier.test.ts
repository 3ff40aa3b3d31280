import { describe, expect, it } from "vitest";
import { type EarlierRow, earlierRows, withEarlier } from "./earlier.ts";
import { placeKey, rowOfPair } from "./judge.ts";
import { type PageTriple, pageTriple, type TripleMention } from "./page-triple.ts";
import type { Results } from "./results.ts";

const TEXT = "𠮷远山收购近水。东风与西岭合作。东风与西岭合作。";
const [FIRST, SECOND] = ["𠮷远山收购近水。", "东风与西岭合作。"];
const OPTIONS = { run: "r", noRelation: "无", maxCharacters: 128 };

/** The mention that begins at a UTF-16 unit; 𠮷 has two. */
function mention(startUtf16: number): TripleMention {
  const text = TEXT.slice(startUtf16, startUtf16 + 2);
  const place = { start: startUtf16 - 1, end: startUtf16 + 1, startUtf16, endUtf16: startUtf16 + 2 };
  return { text, id: text, name: text, type: null, ...place };
}
const triple = (sentence: string, sentenceStart: number, head: number, tail: number, relation: string) =>
  pageTriple({
    ...{ document: "text", sentence, sentenceStart, head: mention(head), tail: mention(tail) },
    ...{ relation, probability: 0.8, run: "f" },
  });
const buys = triple(FIRST, 0, 2, 6, "收购");
const works = [triple(SECOND, 8, 9, 12, "合作"), triple(SECOND, 16, 17, 20, "合作")];

const results = (triples: readonly PageTriple[]): Results => ({
  documents: [{ id: "text", text: TEXT, mentions: [2, 6, 9, 12, 17, 20].map(mention) }],
  triples,
  badDocuments: [],
  counts: { pairs: 3, cutByCap: 0, badPairs: 0, truncated: 0, badDocuments: 0 },
});
const row = (of: PageTriple, verdict: EarlierRow["verdict"], ...relations: string[]): EarlierRow => ({
  ...{ id: `${of.head.text} ${verdict}`, sentence: of.sentence, head: of.head.text, tail: of.tail.text },
  headSpan: { start: of.headSpan[0], end: of.headSpan[1] },
  tailSpan: { start: of.tailSpan[0], end: of.tailSpan[1] },
  ...{ verdict, relations },
});
const verdicts = ({ triples }: Results) =>
  triples.map(({ relation, label, verdict, isOfModel }) => [relation, label, verdict, isOfModel]);

describe("verdicts of an earlier visit", () => {
  it("are shown wherever their sentence is, and the next one replaces their row", () => {
    const rows = [row(buys, "corrected", "合作"), row(works[0], "confirmed", "合作")];
    const { results: after, ids } = withEarlier(results([buys, ...works]), rows, OPTIONS);
    expect(verdicts(after)).toEqual([
      ["收购", "合作", "corrected", true],
      ["合作", "合作", "confirmed", true],
      ["合作", "合作", "confirmed", true],
    ]);
    expect([buys, works[1]].map((one) => ids.get(placeKey("r", one)))).toEqual(["远山 corrected", "东风 confirmed"]);
    expect(rowOfPair(after.triples.slice(0, 1))).toMatchObject({ verdict: "corrected", relations: ["合作"] });
  });

  it("are the last ones of a pair, and never those of a pair that was judged since", () => {
    const rows = [row(buys, "confirmed", "收购"), row(buys, "rejected", "无")];
    expect(verdicts(withEarlier(results([buys]), rows, OPTIONS).results)).toEqual([["收购", "收购", "rejected", true]]);
    const judged = results([{ ...buys, verdict: "confirmed" }]);
    expect(verdicts(withEarlier(judged, rows, OPTIONS).results)).toEqual([["收购", "收购", "confirmed", true]]);
  });

  it("bring relations that the model lacks, with mentions that were not found", () => {
    const without = { ...results([]), documents: [{ id: "text", text: TEXT, mentions: [mention(2)] }] };
    const { results: after } = withEarlier(without, [row(buys, "added", "收购", "合作")], OPTIONS);
    expect(verdicts(after)).toEqual([
      ["收购", "收购", "added", false],
      ["合作", "合作", "added", false],
    ]);
    expect(after.documents[0].mentions).toEqual([mention(2), mention(6)]);
    expect(after.triples[0]).toMatchObject({ head: mention(2), tail: mention(6), sentenceStart: 0 });
    expect(withEarlier(without, [row(buys, "rejected", "无")], OPTIONS).results.triples).toEqual([]);
  });

  it("of rows without places are those of the first pair with their names", () => {
    const { headSpan: _, tailSpan: __, ...placeless } = row(buys, "rejected", "无");
    expect(verdicts(withEarlier(results([buys]), [placeless], OPTIONS).results)[0][2]).toBe("rejected");
    const lost = { ...placeless, head: "南湖" };
    expect(verdicts(withEarlier(results([buys]), [lost], OPTIONS).results)[0][2]).toBeNull();
  });

  it("are asked once a sentence, in parts", async () => {
    const asked: string[][] = [];
    const api = {
      async post<T>(_: string, body: unknown): Promise<T> {
        const { sentences } = body as { sentences: string[] };
        asked.push(sentences);
        return { rows: [{ sentence: sentences[0] }] } as T;
      },
    };
    const text = Array.from({ length: 501 }, (_, i) => `第${i}句。`).join("");
    const rows = await earlierRows(api, "r", [{ text: TEXT }, { text }], 128);
    expect(asked.map(({ length }) => length)).toEqual([500, 3]);
    expect(asked[0].slice(0, 3)).toEqual([FIRST, SECOND, "第0句。"]);
    expect(rows).toHaveLength(2);
  });
});
