import { afterAll, describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { UserError } from "../base/errors.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import { noTokens } from "../decode/label-trie.ts";
import { mixProbabilities } from "../linear/mixture.ts";
import { linearProbabilities } from "../linear/model.ts";
import { trainLinear } from "../linear/train.ts";
import { chooseRelations } from "./combine.ts";
import { type Extraction, mirrored } from "./extractor.ts";

const backend = openReference({ precision: "float32" });
afterAll(() => backend.close());

const EXAMPLES: Example[] = [
  { sentence: "华盛达收购刚泰控股的全部股份。", head: "华盛达", tail: "刚泰控股" },
  { sentence: "甲与乙合作。", head: "甲", tail: "乙" },
  {
    sentence: "昨日，远山集团宣布与近水科技签署长期合作协议，双方将共同开发新产品。",
    head: "远山集团",
    tail: "近水科技",
  },
  { sentence: "他的助手来了。", head: "他", tail: "助手", headSpan: { start: 0, end: 1 } },
];

function expectClose(got: Extraction, want: Extraction): void {
  expect(got.predictions.map(({ relation }) => relation)).toEqual(want.predictions.map(({ relation }) => relation));
  for (const [i, value] of want.probabilities.entries()) {
    expect(Math.abs(got.probabilities[i] - value), `label ${i}`).toBeLessThan(1e-5);
  }
}

describe("createExtractor", () => {
  for (const settings of [
    { method: "labels" as const, bothDirections: false },
    { method: "labels" as const, bothDirections: true },
    { method: "labels" as const, style: "paper" },
    { method: "generate" as const },
  ]) {
    it(`gives equal answers in any order and batch: ${JSON.stringify(settings)}`, async () => {
      const wide = await tinyExtractor(backend, { ...settings, maxAnswerTokens: 30 });
      const narrow = await tinyExtractor(backend, { ...settings, maxAnswerTokens: 30, maxBatchTokens: 1 });
      const together = await wide.extract(EXAMPLES);
      const backwards = (await wide.extract([...EXAMPLES].reverse())).reverse();
      const oneByOne = await narrow.extract(EXAMPLES);
      for (const [i, extraction] of together.entries()) {
        expect(extraction.probabilities.length).toBe(TINY_LABELS.labels.length);
        expect(extraction.probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
        expectClose(backwards[i], extraction);
        expectClose(oneByOne[i], extraction);
        expect(backwards[i].generated?.text).toBe(extraction.generated?.text);
      }
      const distinct = new Set(together.map(({ probabilities }) => probabilities.join()));
      expect(distinct.size).toBe(EXAMPLES.length);
    });
  }

  describe("with a companion", () => {
    const rows = EXAMPLES.map((example, i) => ({ ...example, relations: [TINY_LABELS.labels[i]] }));
    const model = trainLinear([...rows, ...rows], TINY_LABELS);
    const mixture = { weight: 0.4, temperature: 0.8 };

    it("mixes both directions of the model with it, and chooses afterwards", async () => {
      const settings = { bothDirections: true, noRelationWeight: 3, furtherRelations: 0.4 };
      const alone = await tinyExtractor(backend, settings);
      const mixed = await tinyExtractor(backend, { ...settings, companion: { model, mixture } });
      expect([alone.mixture, mixed.mixture]).toEqual([null, mixture]);
      const [own, both, linear] = [
        await alone.extract(EXAMPLES),
        await mixed.extract(EXAMPLES),
        linearProbabilities(model, EXAMPLES),
      ];
      for (const [i, extraction] of both.entries()) {
        expect(extraction.modelProbabilities).toEqual(own[i].modelProbabilities);
        const wanted = mixProbabilities(own[i].modelProbabilities, linear[i], mixture);
        const { predictions, probabilities } = chooseRelations(wanted, TINY_LABELS, { ...mixed.settings });
        expect(extraction.probabilities).toEqual(probabilities);
        expect(extraction.predictions).toEqual(predictions);
        expect(extraction.probabilities).not.toEqual(own[i].probabilities);
        expect(extraction.probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
      }
    });

    it("gives each row its own, also next to rows that cannot be used, and reads the texts as the model does", async () => {
      const mixed = await tinyExtractor(backend, { companion: { model, mixture }, normalize: "nfkc" });
      const wide = { sentence: "ＡＢ与ＣＤ合作。", head: "ＡＢ", tail: "ＣＤ" };
      const bad = { sentence: "没有", head: "甲", tail: "乙" };
      const [first, problem, second] = await mixed.extractEach([EXAMPLES[1], bad, wide]);
      expect(problem).toHaveProperty("problem");
      const narrow = { sentence: "AB与CD合作。", head: "AB", tail: "CD" };
      const [a, b] = await mixed.extract([EXAMPLES[1], narrow]);
      expectClose(first as Extraction, a);
      expectClose(second as Extraction, b);
    });

    it("leaves generated text to the model", async () => {
      const mixed = await tinyExtractor(backend, { method: "generate", companion: { model, mixture } });
      const alone = await tinyExtractor(backend, { method: "generate" });
      expect(mixed.mixture).toBe(null);
      expect(await mixed.extract(EXAMPLES.slice(0, 2))).toEqual(await alone.extract(EXAMPLES.slice(0, 2)));
    });
  });

  it("gives no answer when the model's scores are no numbers", async () => {
    for (const method of ["labels", "generate"] as const) {
      const extractor = await tinyExtractor(backend, { method, normWeight: Number.NaN });
      await expect(extractor.extract(EXAMPLES.slice(1, 2))).rejects.toMatchObject({
        name: "UserError",
        message: `"甲与乙合作。": the model's scores are not finite numbers (NaN or Infinity).`,
        hint: expect.stringContaining("NaN or Infinity in the weights"),
      });
      expect(await extractor.extractEach(EXAMPLES.slice(1, 2))).toEqual([
        { problem: expect.stringContaining("scores are not finite numbers") },
      ]);
    }
  });

  it("reads normalised texts as the rows of training were read", async () => {
    const plain = { sentence: "ABC收购乙", head: "ABC", tail: "乙" };
    const wide = { sentence: "ＡＢＣ收购乙", head: "ABC", tail: "乙" };
    const extractor = await tinyExtractor(backend, { normalize: "nfkc" });
    const [first, second] = await extractor.extract([plain, wide]);
    expectClose(second, first);
    await expect((await tinyExtractor(backend)).extract([wide])).rejects.toThrow(
      "data.normalize: nfkc reads them alike",
    );
  });

  it("asks both directions: the mirrored pair gets the inverse answer", async () => {
    const labels = createLabelSet(
      {
        labels: ["unknown", "收购", "被收购"],
        noRelation: "unknown",
        inverses: { 收购: "被收购" },
        symmetric: ["unknown"],
      },
      "labels",
    );
    const both = await tinyExtractor(backend, { bothDirections: true, labels });
    const own = await both.extract(EXAMPLES);
    const turned = await both.extract(EXAMPLES.map(mirrored));
    for (const [i, { probabilities }] of own.entries()) {
      for (const [label, inverse] of [0, 2, 1].entries()) {
        expect(turned[i].probabilities[inverse]).toBeCloseTo(probabilities[label], 6);
      }
    }
    const single = await (await tinyExtractor(backend, { labels })).extract(EXAMPLES);
    expect(own[0].probabilities).not.toEqual(single[0].probabilities);
  });

  it("shortens what is too long and says so", async () => {
    const extractor = await tinyExtractor(backend, { maxPromptTokens: 40 });
    const long = { ...EXAMPLES[0], sentence: `${EXAMPLES[0].sentence}${"市场反应热烈，".repeat(50)}` };
    const [short, cut] = await extractor.extract([EXAMPLES[0], long]);
    expect(short.truncated).toBe(false);
    expect(cut.truncated).toBe(true);
  });

  it("throws for an example that cannot be used; extractEach gives its problem and the others' answers", async () => {
    const extractor = await tinyExtractor(backend, { maxPromptTokens: 40, bothDirections: true });
    const huge = { sentence: `甲${"乙".repeat(90)}`, head: "甲", tail: "乙".repeat(90) };
    const absent = { sentence: "甲与乙合作。", head: "甲", tail: "丙" };
    await expect(extractor.extract([EXAMPLES[1], huge])).rejects.toThrow(UserError);
    await expect(extractor.extract([absent])).rejects.toThrow('got the tail "丙", expected a part of the sentence');
    const results = await extractor.extractEach([EXAMPLES[1], huge, absent, EXAMPLES[3]]);
    expect(results.map((result) => "problem" in result)).toEqual([false, true, true, false]);
    expect(results[1]).toMatchObject({ problem: expect.stringContaining("expected at most 40") });
    const plain = await extractor.extract([EXAMPLES[1], EXAMPLES[3]]);
    expectClose(results[0] as Extraction, plain[0]);
    expectClose(results[3] as Extraction, plain[1]);
  });

  it("finds an answer that is too long for its limit before computing", async () => {
    const extractor = await tinyExtractor(backend, { style: "paper", maxAnswerTokens: 12 });
    const long = { sentence: "某某某某某某某某某某某某与乙合作", head: "某某某某某某某某某某某某", tail: "乙" };
    const [result] = await extractor.extractEach([long]);
    expect(result).toMatchObject({ problem: expect.stringContaining("expected at most 12") });
  });

  it("takes no examples, and a schema of one label", async () => {
    expect(await (await tinyExtractor(backend)).extract([])).toEqual([]);
    const labels = createLabelSet({ labels: ["合作"] }, "labels");
    const [only] = await (await tinyExtractor(backend, { labels })).extract([EXAMPLES[1]]);
    expect(only.predictions).toEqual([{ relation: "合作", probability: 1 }]);
  });

  it("has the probabilities of labels with generated text too, of small trees and of large ones, and counts what it computed", async () => {
    const many = createLabelSet(
      { labels: Array.from({ length: 90 }, (_, i) => `${"甲乙丙丁戊己庚辛壬癸"[i % 10]}关系${i}`) },
      "labels",
    );
    for (const labels of [TINY_LABELS, many]) {
      for (const style of ["paper", "marked"]) {
        const options = { style, labels, maxAnswerTokens: 40 };
        const chosen = await (await tinyExtractor(backend, options)).extract(EXAMPLES);
        const extractor = await tinyExtractor(backend, { ...options, method: "generate" });
        const generated = await extractor.extract(EXAMPLES);
        for (const [i, { probabilities }] of generated.entries()) {
          for (const [j, value] of probabilities.entries()) expect(value).toBeCloseTo(chosen[i].probabilities[j], 5);
        }
        const { prompt, computed, passes, generated: made, accepted } = { ...noTokens(), ...extractor.tokens };
        expect(passes).toBeGreaterThan(0);
        expect(made).toBeGreaterThan(accepted);
        expect(computed + prompt).toBeGreaterThan(made);
      }
    }
  });

  it("reads generated text: what is no label is told, never dropped", async () => {
    const extractor = await tinyExtractor(backend, { method: "generate", maxAnswerTokens: 10 });
    for (const { generated, predictions } of await extractor.extract(EXAMPLES)) {
      // A random model writes nonsense: all of it must come back somewhere.
      expect(generated).not.toBeNull();
      expect(predictions).toEqual([]);
      expect(generated?.unknownLabels.length || generated?.unparsed !== null).toBeTruthy();
    }
  });
});

describe("mirrored", () => {
  it("swaps the entities with their spans, twice gives the same", () => {
    expect(mirrored(EXAMPLES[3])).toEqual({
      sentence: "他的助手来了。",
      head: "助手",
      tail: "他",
      headSpan: undefined,
      tailSpan: { start: 0, end: 1 },
    });
    for (const example of EXAMPLES) expect(mirrored(mirrored(example))).toEqual(example);
  });
});
