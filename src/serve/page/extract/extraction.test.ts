import { describe, expect, it } from "vitest";
import { type Api, ApiProblem } from "../shell/api.ts";
import { type ExtractionEvents, type ExtractionSettings, extractText } from "./extraction.ts";
import type { PageTriple, TripleMention } from "./page-triple.ts";

const settings: ExtractionSettings = {
  ...{ run: "demo", maxCharacters: 300, find: false, usesServerNames: false },
  names: [{ name: "远山" }, { name: "近水" }],
};

/** A server that finds 远山 and 近水 once in each part that has them. */
function fakeApi(refuse: (asked: number) => Error | null = () => null) {
  let asked = 0;
  const bodies: { text: string }[] = [];
  const mention = (text: string, name: string): TripleMention => {
    const at = text.indexOf(name);
    const start = Array.from(text.slice(0, at)).length;
    const units = { startUtf16: at, endUtf16: at + name.length };
    return { text: name, id: name, name, type: null, start, end: start + 2, ...units };
  };
  const post = async (_: string, body: { text: string }) => {
    const problem = refuse(asked++);
    if (problem) throw problem;
    bodies.push(body);
    if (!body.text.includes("近水")) return { mentions: [], triples: [], counts: { pairs: 1 } };
    const [head, tail] = [mention(body.text, "远山"), mention(body.text, "近水")];
    const places = { document: "text", sentence: body.text, sentenceStart: 0, head, tail };
    const triple = { ...places, relation: "收购", probability: 0.9 };
    return { mentions: [head, tail], triples: [{ ...triple, run: "r" }], counts: { pairs: 1 } };
  };
  return { api: { post } as unknown as Api, bodies };
}

function told() {
  const seen = { mentions: [] as TripleMention[], triples: [] as PageTriple[], pairs: 0, progress: [] as unknown[] };
  const events: ExtractionEvents = {
    onDocument() {},
    onMentions: (_, mentions) => seen.mentions.push(...mentions),
    onTriple: (triple) => seen.triples.push(triple),
    onBadDocument() {},
    onCounts: ({ pairs = 0 }) => {
      seen.pairs += pairs;
    },
    onProgress: (done, of) => seen.progress.push([done, of]),
  };
  return { seen, events };
}

describe("the extraction of a text", () => {
  const sentence = `𠮷野说，远山收购了近水。${"又过了很久。".repeat(100)}`;
  const text = sentence.repeat(9);
  const sentences = 9 * 101;

  it("asks part by part, and tells places in the whole text", async () => {
    const { api, bodies } = fakeApi();
    const { seen, events } = told();
    await extractText(api, text, settings, events, new AbortController().signal);
    expect(bodies.length).toBeGreaterThan(2);
    expect(seen.progress.at(-1)).toEqual([sentences, sentences]);
    expect(seen.pairs).toBe(bodies.length);
    for (const { startUtf16, endUtf16, start, end, name } of seen.mentions) {
      expect(text.slice(startUtf16, endUtf16)).toBe(name);
      expect(Array.from(text).slice(start, end).join("")).toBe(name);
    }
    for (const { sentence: own, headSpan, tailSpan } of seen.triples) {
      expect(own.slice(...headSpan)).toBe("远山");
      expect(own.slice(...tailSpan)).toBe("近水");
    }
    expect(new Set(seen.triples.map(({ key }) => key)).size).toBe(seen.triples.length);
  });

  it("asks in halves where the server has not enough time", async () => {
    const slow = new ApiProblem(503, "timed-out", "no answer in time", null);
    const { api, bodies } = fakeApi((asked) => (asked < 3 ? slow : null));
    const { seen, events } = told();
    await extractText(api, text, settings, events, new AbortController().signal);
    expect(seen.progress.at(-1)).toEqual([sentences, sentences]);
    expect(bodies.map(({ text: own }) => own.length).reduce((sum, length) => sum + length)).toBe(text.length);
  });

  it("stops at an error, and when the user stops it", async () => {
    const { seen, events } = told();
    const bad = new ApiProblem(422, "unusable", "no", null);
    const failing = fakeApi((asked) => (asked === 1 ? bad : null));
    await expect(extractText(failing.api, text, settings, events, new AbortController().signal)).rejects.toBe(bad);
    expect(seen.triples.length).toBeLessThan(3);
    const gone = new AbortController();
    gone.abort();
    const stopped = extractText(fakeApi().api, text, settings, told().events, gone.signal);
    await expect(stopped).rejects.toMatchObject({ name: "AbortError" });
  });
});
