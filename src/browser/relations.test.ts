import { describe, expect, it } from "vitest";
import { fakeExtractor } from "../../test/fake-extractor.ts";
import { findNames, findRelations, type SentenceRelations } from "./relations.ts";

const TEXT = "远山与近水合作。东风和远山都在本市，近水没有来。西岭独自在。";

async function all(text: string, names: readonly string[], options = {}): Promise<SentenceRelations[]> {
  const found: SentenceRelations[] = [];
  for await (const one of findRelations(fakeExtractor(), text, findNames(text, names), options)) found.push(one);
  return found;
}

describe("findNames", () => {
  it("finds every place of a name and of its other forms", () => {
    const { sentences, mentions } = findNames(TEXT, ["远山|东风", " 近水 "]);
    expect(sentences.map(({ text }) => text)).toEqual([
      "远山与近水合作。",
      "东风和远山都在本市，近水没有来。",
      "西岭独自在。",
    ]);
    expect(mentions.map(({ start, name }) => [TEXT.slice(start, start + 2), name])).toEqual([
      ["远山", "远山"],
      ["近水", "近水"],
      ["东风", "远山"],
      ["远山", "远山"],
      ["近水", "近水"],
    ]);
  });

  it("finds a traditional form by the simplified one where it knows the characters", () => {
    const characters = "東\t东\n風\t风\n";
    expect(findNames("東風來了。", ["东风"], { characters }).mentions).toMatchObject([
      { start: 0, end: 2, name: "东风" },
    ]);
    expect(findNames("東風來了。", ["东风"]).mentions).toEqual([]);
  });

  it("lists names that cannot be used", () => {
    const { mentions, problems } = findNames(TEXT, ["近水", "名".repeat(201), "a\u0007b"]);
    expect(mentions).toHaveLength(2);
    expect(problems).toEqual([
      { file: "names", line: 2, problem: "got a name of 201 characters, expected at most 200" },
      expect.objectContaining({ line: 3 }),
    ]);
  });
});

describe("findRelations", () => {
  it("asks every two names of a sentence, and says what became of the others", async () => {
    const found = await all(TEXT, ["远山", "近水", "东风", "西岭"]);
    expect(found.map(({ pairs, cutPairs }) => [pairs, cutPairs])).toEqual([
      [1, 0],
      [3, 0],
      [0, 0],
    ]);
    expect(found[0].relations.map(({ head, relation, tail }) => [head.name, relation, tail.name])).toEqual([
      ["远山", "合作", "近水"],
      ["远山", "拥有", "近水"],
    ]);
    expect(found[0].relations[0].probability).toBeCloseTo(1 / (2 + 8), 10);
  });

  it("keeps to the least probability and to the most pairs", async () => {
    const found = await all(TEXT, ["远山", "近水", "东风"], { maxPairs: 2, minProbability: 0.08 });
    expect(found.map(({ pairs, cutPairs, relations }) => [pairs, cutPairs, relations.length])).toEqual([
      [1, 0, 1],
      [2, 1, 0],
      [0, 0, 0],
    ]);
  });

  it("gives the problem of a pair that cannot be asked", async () => {
    const [{ problems, relations }] = await all("远山与近水太长。", ["远山", "近水"]);
    expect({ problems, relations }).toEqual({ problems: ["does not fit"], relations: [] });
  });
});
