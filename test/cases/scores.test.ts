import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildCli, cre, jsonl, temporaryFolder, toyRows } from "../e2e/support.ts";
import { done } from "./outcome.ts";
import { dataFolder } from "./toy-runs.ts";

const temporary = temporaryFolder("scores");
const file = (name: string) => join(temporary.path, name);

beforeAll(buildCli, 120_000);
afterAll(() => temporary.remove());

function write(name: string, rows: readonly unknown[]): string {
  writeFileSync(file(name), jsonl(rows));
  return file(name);
}

interface Scored {
  stderr: string;
  conventions: Record<string, { f1: number }>;
  exactSet: number;
  counts: Record<string, number>;
  matching?: { notes?: string[] };
}

async function score(...words: string[]): Promise<Scored> {
  const { stdout, stderr } = await done(["score", ...words, "--json", "-"]);
  return { ...JSON.parse(stdout), stderr };
}

const triple = (head: string, relation: string, tail: string) => `([${head}],${relation},[${tail}])`;

describe("case B13: no relation by another name", () => {
  const NAMES = ["无关系", "NA", "N/A", "no_relation", "None", "none", "Other", "其他", "无", "unknown"];
  const rows = (name: string) =>
    Array.from({ length: 10 }, (_, i) => ({
      sentence: `第${i}句：甲与乙。`,
      head: "甲",
      tail: "乙",
      relations: [i < 8 ? name : "收购"],
    }));
  const answers = (name: string) =>
    rows(name).map(({ relations }) => ({ label: triple("甲", relations[0], "乙"), predict: triple("甲", name, "乙") }));

  it.each(NAMES.slice(0, -1))("%s that is not declared gets a note, not a silent score", async (name) => {
    const { stderr, stdout } = await done(["score", write("answers.jsonl", answers(name))]);
    expect(stderr + stdout).toMatch(/note|!/);
    expect(stderr + stdout).toMatch(/no relation/i);
    const line = (stderr + stdout).split("\n").find((one) => one.includes(name) && /no relation/i.test(one));
    expect(line, "a line that names the label and says that it may mean no relation").toBeDefined();
  });

  it("is declared by an option of score, and counts as no relation then", async () => {
    const help = (await done(["score", "--help"])).stdout;
    expect(help).toContain("--no-relation");
    for (const name of ["无关系", "NA"]) {
      const scored = await score(write("answers.jsonl", answers(name)), "--no-relation", name);
      expect(scored.conventions.micro.f1).toBe(0);
      const gold = write("gold.jsonl", rows(name));
      const found = rows(name).map((row) => ({ ...row, predictions: [{ relation: name, probability: 0.9 }] }));
      const byGold = await score(write("found.jsonl", found), "--gold", gold, "--no-relation", name);
      expect(byGold.conventions.micro.f1).toBe(0);
    }
    const wrong = await cre(["score", write("answers.jsonl", answers("NA")), "--no-relation", "absent"]);
    expect(wrong.code, wrong.stderr).toBe(1);
    expect(wrong.stderr).toContain("absent");
  });

  it("is taken from the labels.json of a gold folder", async () => {
    const folder = dataFolder(file("declared"), {
      test: rows("无关系"),
      "labels.json": JSON.stringify({ labels: ["无关系", "收购"], noRelation: "无关系" }),
    });
    const found = rows("无关系").map((row) => ({ ...row, predictions: [{ relation: "无关系", probability: 0.9 }] }));
    expect((await score(write("found.jsonl", found), "--gold", folder)).conventions.micro.f1).toBe(0);
  });

  it.each(NAMES)("a labels.json with %s and without noRelation gets a note", async (name) => {
    const folder = dataFolder(file(`labels-${NAMES.indexOf(name)}`), {
      test: rows(name),
      "labels.json": JSON.stringify({ labels: [name, "收购"] }),
    });
    const { stdout, stderr } = await done(["data", "stats", folder]);
    expect(stderr + stdout).toMatch(/noRelation/);
    expect(stderr).toContain(name);
  });

  it("is not suspected of a label set that declares one, or that has no such name", async () => {
    const declared = dataFolder(file("quiet"), { test: toyRows(4, 1) });
    expect((await done(["data", "stats", declared])).stderr).toBe("");
    const plain = dataFolder(file("plain"), {
      test: toyRows(2, 1).map((row) => ({ ...row, relations: ["收购"] })),
      "labels.json": JSON.stringify({ labels: ["收购", "合作"] }),
    });
    expect((await done(["data", "stats", plain])).stderr).not.toMatch(/noRelation/);
  });
});

describe("case B15: brackets and commas in entities", () => {
  const PAIRS: [string, string][] = [
    ["甲[集团]", "乙"],
    ["甲", "[乙]"],
    ["甲]", "乙["],
    ["甲(上海)", "乙(北京)"],
    ["甲,乙", "丙"],
    ["甲],收购,[乙", "丙"],
    ["甲)", "(乙"],
    ["甲，有限", "乙、丙"],
  ];

  it.each(PAIRS)("%s and %s: an answer that is right word for word is right", async (head, tail) => {
    const right = triple(head, "收购", tail);
    const rows = [
      { label: right, predict: right },
      { label: triple("丙丙", "收购", "丁"), predict: triple("丙丙", "合作", "丁") },
    ];
    const gold = write("gold.jsonl", [
      { sentence: `${head}收购了${tail}。`, head, tail, relations: ["收购"] },
      { sentence: "丙丙收购了丁。", head: "丙丙", tail: "丁", relations: ["收购"] },
    ]);
    const { conventions } = await score(write("answers.jsonl", rows), "--gold", gold);
    expect(conventions.micro.f1).toBeCloseTo(0.5, 9);
    expect(conventions["micro-argmax"].f1).toBeCloseTo(0.5, 9);
  });

  it("several relations of such a pair are read one by one", async () => {
    const answer = ["收购", "合作"].map((relation) => triple("甲[集团]", relation, "乙,丙")).join(",");
    const gold = write("gold.jsonl", [
      { sentence: "甲[集团]收购乙,丙。", head: "甲[集团]", tail: "乙,丙", relations: ["收购", "合作"] },
    ]);
    const { conventions, exactSet } = await score(
      write("answers.jsonl", [{ label: answer, predict: answer }]),
      "--gold",
      gold,
    );
    expect(conventions.micro.f1).toBe(1);
    expect(exactSet).toBe(1);
  });
});

describe("case B16: answers of more triples than the paper reads", () => {
  const answer = (order: readonly number[]) => order.map((i) => triple("甲", `关系${i}`, "乙")).join(",");

  it.each([5, 6, 20])("all of %i relations are read but by the convention paper", async (count) => {
    const order = Array.from({ length: count }, (_, i) => i);
    const rows = [{ label: answer(order), predict: answer([...order].reverse()) }];
    const { conventions, exactSet, counts } = await score(write("answers.jsonl", rows));
    expect(conventions.micro.f1).toBe(1);
    expect(exactSet).toBe(1);
    expect(counts.beyondPaperLimit).toBe(1);
    const { stdout } = await done(["score", file("answers.jsonl")]);
    expect(stdout).not.toContain("not a label");
  });

  it("a wrong fifth triple costs micro, not paper", async () => {
    const order = [0, 1, 2, 3];
    const right = { label: answer(order), predict: answer(order) };
    const longer = { label: answer([...order, 4]), predict: answer([...order, 5]) };
    const { conventions } = await score(write("answers.jsonl", [right, longer]));
    expect(conventions.micro.f1).toBeCloseTo(8 / 9, 9);
    expect(conventions.paper.f1).toBe(1);
  });

  it("rows of relations and extractions have no such limit either", async () => {
    const relations = Array.from({ length: 6 }, (_, i) => `关系${i}`);
    const gold = write("gold.jsonl", [{ id: 1, sentence: "甲与乙。", head: "甲", tail: "乙", relations }]);
    const found = write("found.jsonl", [{ id: 1, relations: [...relations].reverse() }]);
    const { conventions, exactSet } = await score(found, "--gold", gold);
    expect(conventions.micro.f1).toBe(1);
    expect(exactSet).toBe(1);
  });
});
