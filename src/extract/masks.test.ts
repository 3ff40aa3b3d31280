import { describe, expect, it } from "vitest";
import { TINY_LABELS, tinyExtractor } from "../../test/tiny-extractor.ts";
import { openReference } from "../compute/reference/backend.ts";
import type { Example } from "../data/example.ts";
import { distinctQuestions } from "./distinct-questions.ts";
import type { Extraction } from "./extractor.ts";

const EXAMPLE: Example = { sentence: "远山收购了近水的股份", head: "远山", tail: "近水" };
const OPPOSITE: Example = { ...EXAMPLE, head: "近水", tail: "远山" };

describe("masks of labels", () => {
  it.each([false, true])(
    "leave the allowed labels, in the proportions they had (both directions: %s)",
    async (bothDirections) => {
      const backend = openReference({ precision: "float32" });
      const extractor = await tinyExtractor(backend, { bothDirections });
      const mask = Uint8Array.from(TINY_LABELS.labels, (label) => (label === "收购" || label === "拥有" ? 1 : 0));
      const [free, masked] = (await extractor.extractEach([EXAMPLE, EXAMPLE], [null, mask])) as Extraction[];
      const total = free.probabilities[1] + free.probabilities[4];
      expect(Array.from(masked.probabilities)).toEqual([
        0,
        expect.closeTo(free.probabilities[1] / total, 6),
        0,
        0,
        expect.closeTo(free.probabilities[4] / total, 6),
      ]);
      expect(["收购", "拥有"]).toContain(masked.predictions[0].relation);
      await backend.close();
    },
  );

  it("keep a generated answer to the allowed labels", async () => {
    const backend = openReference({ precision: "float32" });
    const extractor = await tinyExtractor(backend, { method: "generate" });
    const none = Uint8Array.from(TINY_LABELS.labels, () => 0);
    const [answer] = (await extractor.extractEach([EXAMPLE], [none])) as Extraction[];
    expect(answer.predictions).toEqual([]);
    await backend.close();
  });
});

describe("equal questions", () => {
  it("are asked once", () => {
    const trie = { nodes: [], leaves: [], inner: [], edges: [] };
    const other = { ...trie };
    const questions = [
      { promptIds: [1, 2], trie },
      { promptIds: Int32Array.from([1, 2]), trie },
      { promptIds: [12], trie },
      { promptIds: [1, 2], trie: other },
    ];
    const { distinct, places } = distinctQuestions(questions);
    expect(distinct).toEqual([questions[0], questions[2], questions[3]]);
    expect(places).toEqual([0, 0, 1, 2]);
  });

  it("give the same answers as when asked apart", async () => {
    const backend = openReference({ precision: "float32" });
    const extractor = await tinyExtractor(backend, { bothDirections: true });
    const together = await extractor.extract([EXAMPLE, OPPOSITE]);
    const apart = [...(await extractor.extract([EXAMPLE])), ...(await extractor.extract([OPPOSITE]))];
    for (const [i, { probabilities }] of together.entries()) {
      for (const [j, probability] of probabilities.entries())
        expect(probability).toBeCloseTo(apart[i].probabilities[j], 6);
    }
    await backend.close();
  });
});
