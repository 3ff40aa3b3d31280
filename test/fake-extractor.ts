import type { Example } from "../src/data/example.ts";
import type { Extraction, Extractor, Unextracted } from "../src/extract/extractor.ts";
import { TINY_LABELS } from "./tiny-extractor.ts";

/**
 * Answers at once. Its probability depends on the whole window, as sums of a real pass may in their last digit: an extraction that resumes
 * must ask for the same windows.
 */
export function fakeExtractor(
  options: { failAfterWindows?: number; arithmetic?: string } = {},
): Extractor & { windows: number[] } {
  const windows: number[] = [];
  const answer = (example: Example, companions: number): Extraction | Unextracted => {
    if (example.sentence.includes("太长")) return { problem: "does not fit" };
    const probability = 1 / (companions + example.sentence.length);
    return {
      predictions: [
        { relation: "合作", probability },
        { relation: "拥有", probability: probability / 2 },
      ],
      probabilities: new Float64Array(TINY_LABELS.labels.length),
      modelProbabilities: new Float64Array(TINY_LABELS.labels.length),
      truncated: example.sentence.includes("截"),
      generated: null,
    };
  };
  const extractEach = async (examples: readonly Example[]) => {
    if (windows.length === options.failAfterWindows) throw new Error("power cut");
    windows.push(examples.length);
    return examples.map((example) => answer(example, examples.length));
  };
  return {
    windows,
    labels: TINY_LABELS,
    arithmetic: options.arithmetic,
    settings: {} as Extractor["settings"],
    extractEach,
    extract: async (examples) => (await extractEach(examples)) as Extraction[],
  };
}

/** A row of pairs as a line of JSON. */
export const fakeRow = (i: number) =>
  JSON.stringify({ id: i, sentence: `甲${i}与乙合作`, head: "甲", tail: "乙", source: { page: i } });
export const fakeRows = (count: number) => Array.from({ length: count }, (_, i) => fakeRow(i));
