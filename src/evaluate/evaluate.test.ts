import { describe, expect, it } from "vitest";
import type { Example } from "../data/example.ts";
import { createLabelSet } from "../data/label-set.ts";
import type { Extraction, Extractor } from "../extract/extractor.ts";
import { evaluate } from "./evaluate.ts";
import { renderHtmlReport } from "./html-report.ts";
import { renderReport } from "./report.ts";

const labels = createLabelSet({ labels: ["unknown", "合作", "拥有"], noRelation: "unknown" }, "labels");

/** Answers what the sentence says after "答". */
function fakeExtractor(windows: number[] = []): Extractor {
  const extract = async (examples: readonly Example[]) => {
    windows.push(examples.length);
    return examples.map(({ sentence }): Extraction => {
      const names = sentence.split("答")[1].split(",").filter(Boolean);
      const known = names.filter((name) => labels.labels.includes(name));
      return {
        predictions: known.map((relation) => ({ relation, probability: 0.5 })),
        probabilities: new Float64Array(3),
        modelProbabilities: new Float64Array(3),
        truncated: sentence.startsWith("截"),
        generated: {
          text: "",
          unparsed: null,
          unknownLabels: names.filter((name) => !labels.labels.includes(name)),
          ended: true,
        },
      };
    });
  };
  return { labels, settings: {} as Extractor["settings"], extract, extractEach: extract };
}

const example = (answer: string, relations: string[], start = ""): Example => ({
  sentence: `${start}甲与乙答${answer}`,
  head: "甲",
  tail: "乙",
  relations,
});

describe("evaluate", () => {
  it("scores what the extractor says, in windows, and tells progress", async () => {
    const windows: number[] = [];
    const heard: number[] = [];
    const examples = [
      example("合作", ["合作"]), // a hit
      example("拥有", ["合作"]), // a miss and a wrong one
      example("unknown", ["unknown"]),
      example("合作,拥有", ["合作", "拥有"], "截"), // two hits
      example("", ["拥有"]), // nothing could be read
    ];
    const { metrics, rows, truncated } = await evaluate(fakeExtractor(windows), examples, {
      bootstrap: null,
      windowRows: 2,
      onRows: (done) => heard.push(done),
    });
    expect(windows).toEqual([2, 2, 1]);
    expect(heard).toEqual([2, 4, 5]);
    expect(truncated).toBe(1);
    // micro: 3 hits of 4 predictions, of 5 gold relations other than unknown.
    expect(metrics.conventions.micro.precision).toBeCloseTo(3 / 4, 12);
    expect(metrics.conventions.micro.recall).toBeCloseTo(3 / 5, 12);
    // paper: F1 of the rows is 1, 0, 1, 1, 0.
    expect(metrics.conventions.paper.f1).toBeCloseTo(3 / 5, 12);
    expect(rows[4]).toMatchObject({ predicted: [], argmax: null, group: "甲与乙答" });
  });

  it("counts the rows that were left out, and says so in tables and page", async () => {
    const { metrics } = await evaluate(fakeExtractor(), [example("合作", ["合作"])], { bootstrap: null, badRows: 2 });
    expect(metrics.counts).toMatchObject({ rows: 1, badRows: 2 });
    expect(renderReport(metrics)).toMatch(/^1 rows, 1 sentences, 1 relations; 2 of 3 rows left out\n/);
    expect(renderReport(metrics)).toContain("! 2 of 3 rows were left out: they cannot be used");
    expect(renderHtmlReport({ title: "t", metrics })).toContain("2 of 3 rows were left out: they cannot be used");
  });

  it("merges rows of equal input, and says so in tables and page", async () => {
    // One relation a row: as one row with both, half of whose relations are found.
    const examples = [example("合作", ["合作"]), example("合作", ["拥有"]), example("拥有", ["拥有"])];
    const { metrics, rows, ...rest } = await evaluate(fakeExtractor(), examples, { bootstrap: null, badRows: 1 });
    expect(rows.map(({ gold }) => gold)).toEqual([["合作", "拥有"], ["拥有"]]);
    expect(rest.examples).toEqual([{ ...examples[0], relations: ["合作", "拥有"] }, examples[2]]);
    expect(metrics.conventions.micro.f1).toBeCloseTo(4 / 5, 12);
    expect(metrics.conventions["micro-argmax"].f1).toBe(1);
    expect(metrics.counts).toMatchObject({ rows: 2, badRows: 1, mergedRows: 1 });
    const said = "1 of 4 rows were merged into a row of the same sentence, head and tail";
    expect(renderReport(metrics)).toMatch(/^2 rows, .*; 1 of 4 rows left out; 1 of 4 rows merged into another\n/);
    expect(renderReport(metrics)).toContain(`! ${said}`);
    expect(renderHtmlReport({ title: "t", metrics })).toContain(said);
  });

  it("counts an invented label as a wrong prediction", async () => {
    const { metrics } = await evaluate(fakeExtractor(), [example("合作,瞎编", ["合作"])], { bootstrap: null });
    expect(metrics.conventions.micro.precision).toBeCloseTo(1 / 2, 12);
    expect(metrics.conventions.micro.recall).toBe(1);
  });

  it("refuses nothing to score, and a gold label outside the set", async () => {
    await expect(evaluate(fakeExtractor(), [], { bootstrap: null })).rejects.toThrow("no rows to score");
    await expect(evaluate(fakeExtractor(), [example("合作", ["投资"])], { bootstrap: null })).rejects.toThrow(
      'relation "投资" is not one of the 3 labels',
    );
  });
});
