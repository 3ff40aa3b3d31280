import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { openDataset } from "../src/data/dataset.ts";
import { type Example, exampleProblem, mentionsOf } from "../src/data/example.ts";
import { readJsonl } from "../src/data/jsonl.ts";
import { datasetStatistics } from "../src/data/statistics.ts";

const DEMO = fileURLToPath(new URL("../demo/", import.meta.url));
const MAX_SHARED_CHARS = 11;

const dataset = await openDataset(DEMO);
const splits = await Promise.all(
  dataset.splitNames.map(async (name) => ({ name, examples: (await dataset.split(name)).examples })),
);
const [train, valid, test] = splits.map(({ examples }) => examples);
const all = splits.flatMap(({ examples }) => examples);
const fresh: Example[] = [];
for await (const row of readJsonl(`${DEMO}fresh.jsonl`)) {
  if (row.example === null) throw new Error(row.problem);
  fresh.push(row.example);
}

const sentencesOf = (examples: readonly Example[]) => [...new Set(examples.map(({ sentence }) => sentence))];
const entitiesOf = (examples: readonly Example[]) => new Set(examples.flatMap(({ head, tail }) => [head, tail]));
const rowsWith = (examples: readonly Example[], label: string) =>
  examples.filter(({ relations }) => relations?.includes(label)).length;
const pairKey = ({ head, tail }: Example) => JSON.stringify([head, tail].sort());

/** "text: sentence / sentence" for every run of `length` characters that two different sentences share. */
function sharedRuns(sentences: readonly string[], length: number): string[] {
  const ownerOf = new Map<string, string>();
  const found: string[] = [];
  for (const sentence of sentences) {
    for (let start = 0; start + length <= sentence.length; start++) {
      const run = sentence.slice(start, start + length);
      const owner = ownerOf.get(run) ?? sentence;
      if (owner !== sentence) found.push(`${run}: ${owner} / ${sentence}`);
      ownerOf.set(run, owner);
    }
  }
  return found;
}

describe("demonstration set: format", () => {
  it("has the three splits and at least 8 relations beside unknown", () => {
    expect(dataset.splitNames).toEqual(["train", "valid", "test"]);
    expect(dataset.labels.noRelation).toBe("unknown");
    expect(dataset.labels.labels.filter((label) => label !== "unknown").length).toBeGreaterThanOrEqual(8);
  });

  it("has only rows with both entities, apart from each other, and 1 to 3 different labels", () => {
    const problems = all.flatMap((example) => {
      const { head, tail, relations = [] } = example;
      const problem = exampleProblem(example);
      if (problem !== null) return [problem];
      if (head === tail) return [`${example.sentence}: the head is the tail, ${head}`];
      if (relations.length < 1 || relations.length > 3 || new Set(relations).size < relations.length) {
        return [`${example.sentence}: ${relations.join()}`];
      }
      return relations.length > 1 && relations.includes("unknown") ? [`${example.sentence}: ${relations.join()}`] : [];
    });
    expect(problems).toEqual([]);
  });

  it("says with a span which mention is meant where an entity occurs twice", () => {
    const unclear = all.filter(
      ({ sentence, head, tail, headSpan, tailSpan }) =>
        (headSpan === undefined && mentionsOf(sentence, head).length > 1) ||
        (tailSpan === undefined && mentionsOf(sentence, tail).length > 1),
    );
    expect(unclear).toEqual([]);
  });

  it("has 12 fresh sentences without labels, unlike all others", () => {
    expect(fresh).toHaveLength(12);
    expect(fresh.filter(({ relations }) => relations !== undefined)).toEqual([]);
    expect(sharedRuns([...sentencesOf(all), ...sentencesOf(fresh)], MAX_SHARED_CHARS + 1)).toEqual([]);
    const known = entitiesOf(all);
    expect([...entitiesOf(fresh)].filter((entity) => known.has(entity))).toEqual([]);
  });
});

describe("demonstration set: counts", () => {
  it("has enough sentences of varied length", () => {
    const lengths = sentencesOf(all).map((sentence) => sentence.length);
    expect(lengths.length).toBeGreaterThanOrEqual(600);
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(12);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(90);
  });

  it.each(dataset.labels.labels)("has at least 60 training, 8 validation and 12 test rows of %s", (label) => {
    expect(rowsWith(train, label)).toBeGreaterThanOrEqual(60);
    expect(rowsWith(valid, label)).toBeGreaterThanOrEqual(8);
    expect(rowsWith(test, label)).toBeGreaterThanOrEqual(12);
  });

  it("has a quarter to a third of unknown rows in every split", () => {
    for (const { name, examples } of splits) {
      const share = rowsWith(examples, "unknown") / examples.length;
      expect(share, name).toBeGreaterThanOrEqual(0.25);
      expect(share, name).toBeLessThanOrEqual(0.35);
    }
  });

  it("has the counts its README gives, and the README says what it is not", () => {
    const readme = readFileSync(`${DEMO}README.md`, "utf8");
    expect(readme).toContain("**This is a demonstration set, not a benchmark.**");
    const parts = [train, valid, test, all];
    const row = (name: string, count: (examples: readonly Example[]) => number) =>
      `| ${name} | ${parts.map(count).join(" | ")} |`;
    expect(readme).toContain(row("sentences", (examples) => sentencesOf(examples).length));
    expect(readme).toContain(row("rows", (examples) => examples.length));
    for (const label of dataset.labels.labels) {
      expect(readme).toContain(row(`\`${label}\``, (examples) => rowsWith(examples, label)));
    }
  });
});

describe("demonstration set: no leakage", () => {
  it("has no sentence, pair or entity of validation or test in training, nor of test in validation", () => {
    for (const [known, later] of [
      [train, valid],
      [train, test],
      [valid, test],
    ]) {
      const sentences = new Set(sentencesOf(known));
      const pairs = new Set(known.map(pairKey));
      const entities = entitiesOf(known);
      expect(sentencesOf(later).filter((sentence) => sentences.has(sentence))).toEqual([]);
      expect(later.filter((example) => pairs.has(pairKey(example)))).toEqual([]);
      expect([...entitiesOf(later)].filter((entity) => entities.has(entity))).toEqual([]);
    }
  });

  it("has no two sentences that share 12 characters in a row, and no row twice", () => {
    expect(sharedRuns(sentencesOf(all), MAX_SHARED_CHARS + 1)).toEqual([]);
    const keys = all.map(({ sentence, head, tail }) => JSON.stringify([sentence, head, tail]));
    expect(new Set(keys).size).toBe(keys.length);
  });

  it("finds a shared run when there is one", () => {
    expect(sharedRuns(["甲公司昨天收购乙公司", "丙公司昨天收购丁公司"], 6)).toEqual([
      "公司昨天收购: 甲公司昨天收购乙公司 / 丙公司昨天收购丁公司",
    ]);
  });
});

describe("demonstration set: mirrored rows", () => {
  it("has the inverse row of every row with an inverse or symmetric label, and it agrees", () => {
    const { inverses } = dataset.labels;
    expect(inverses.get("收购")).toBe("被收购");
    expect(inverses.get("合作")).toBe("合作");
    const relationsOf = new Map(
      all.map(({ sentence, head, tail, relations }) => [JSON.stringify([sentence, head, tail]), relations ?? []]),
    );
    const problems = all.flatMap(({ sentence, head, tail, relations = [] }) => {
      const mirrored = relationsOf.get(JSON.stringify([sentence, tail, head]));
      return relations.flatMap((relation) => {
        const inverse = relation === "unknown" ? relation : inverses.get(relation);
        if (mirrored === undefined)
          return relation === "unknown" || inverse === undefined ? [] : [`${sentence}: no row`];
        return inverse === undefined || mirrored.includes(inverse) ? [] : [`${sentence}: ${relation} / ${mirrored}`];
      });
    });
    expect(problems).toEqual([]);
  });
});

describe("demonstration set: statistics of cre data stats", () => {
  it("reports no leakage and no overlapping entities", () => {
    const { leakage, splits: counted } = datasetStatistics(splits, dataset.labels);
    expect(leakage.map(({ sameSentence, samePairAndLabel }) => sameSentence + samePairAndLabel)).toEqual(
      leakage.map(() => 0),
    );
    for (const split of counted) expect([split.overlappingEntities, split.sameEntity]).toEqual([0, 0]);
  });
});
