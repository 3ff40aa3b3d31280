import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { score } from "./score.ts";

const directory = mkdtempSync(join(tmpdir(), "cre-score-"));
afterAll(() => rmSync(directory, { recursive: true }));

function write(name: string, rows: readonly object[]): string {
  const file = join(directory, name);
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

describe("score", () => {
  it("matches a file of predictions with gold rows and adds trivial answers", async () => {
    const row = (tail: string) => ({ sentence: "甲、乙、丙", head: "甲", tail });
    const gold = write("gold.jsonl", [
      { ...row("乙"), relations: ["合作"] },
      { ...row("丙"), relations: ["unknown"] },
    ]);
    const found = write("found.jsonl", [{ ...row("乙"), predictions: [{ relation: "合作", probability: 0.9 }] }]);
    const { metrics, matching, references } = await score(found, { gold, bootstrap: null });
    expect(metrics.conventions.micro.f1).toBe(1);
    expect(matching).toMatchObject({ goldRows: 2, matched: 1, missing: 1 });
    expect(references.map(({ name }) => name)).toEqual(["always unknown", "best single label"]);
  });

  it("matches ids that differ in their last digit only, and ids of rows that are merged", async () => {
    const row = { sentence: "甲乙", head: "甲", tail: "乙" };
    const line = (id: string, fields: object) => `{"id": ${id}, ${JSON.stringify(fields).slice(1)}\n`;
    const [first, second] = ["7311234567890123457", "7311234567890123458"];
    const file = (name: string, text: string) => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    for (const sentence of ["甲乙", "甲和乙"]) {
      const gold = file(
        "ids.jsonl",
        line(first, { ...row, relations: ["收购"] }) + line(second, { ...row, sentence, relations: ["合作"] }),
      );
      const found = file(
        "ids-found.jsonl",
        line(second, { relations: ["合作"] }) + line(first, { relations: ["收购"] }),
      );
      const { metrics, matching } = await score(found, { gold, bootstrap: null });
      expect(metrics.conventions.micro.f1).toBe(1);
      expect(matching).toMatchObject({ mergedGoldRows: sentence === "甲乙" ? 1 : 0, duplicates: 0, unmatched: 0 });
    }
    const twice = file("ids-twice.jsonl", line(first, { relations: ["收购"] }).repeat(2));
    const { matching } = await score(twice, { gold: file("ids.jsonl", line(first, { ...row, relations: ["收购"] })) });
    expect(matching).toMatchObject({ duplicates: 1, notes: [`line 2: id ${first} was predicted before on line 1`] });
  });

  const answer = (label: string, predict: string) => ({
    label: `([甲],${label},[乙])`,
    predict: `([甲],${predict},[乙])`,
  });

  it("takes the label of no relation by its declared name, and suspects one that is not declared", async () => {
    const answers = write("none.jsonl", [answer("无关系", "无关系"), answer("收购", "无关系")]);
    const silent = await score(answers, { bootstrap: null });
    expect(silent.metrics.conventions.micro.f1).toBe(0.5);
    expect(silent.matching.suspectedNoRelation).toBe("无关系");
    const declared = await score(answers, { bootstrap: null, noRelation: "无关系" });
    expect(declared.metrics.conventions.micro.f1).toBe(0);
    expect(declared.matching.suspectedNoRelation).toBe(null);
    expect(declared.metrics.counts.noRelationRows).toBe(1);
    await expect(score(answers, { noRelation: "无联系" })).rejects.toThrow(
      '--no-relation "无联系": is not one of the labels, did you mean "无关系"?',
    );
    const unknown = write("unknown.jsonl", [answer("unknown", "其他"), answer("其他", "其他")]);
    expect((await score(unknown, { bootstrap: null })).matching.suspectedNoRelation).toBe(null);
  });

  it("reads entities with brackets, as the gold rows have them or by the brackets alone", async () => {
    for (const [head, tail] of [
      ["甲[集团]", "乙"],
      ["甲]", "乙["],
      ["甲],收购,[乙", "丙"],
      ["甲)", "([乙])"],
      ["甲,乙", "丙"],
    ]) {
      const right = `([${head}],收购,[${tail}])`;
      const gold = write("brackets.jsonl", [{ sentence: `${head}收购${tail}`, head, tail, relations: ["收购"] }]);
      const answers = write("brackets-found.jsonl", [{ label: right, predict: `${right},([丙[1]],合作,[丁])` }]);
      const { metrics, matching } = await score(answers, { gold, bootstrap: null });
      expect(metrics.conventions.micro).toMatchObject({ precision: 0.5, recall: 1 });
      expect(matching.goldDiffers).toBe(0);
    }
    const alone = write("alone-brackets.jsonl", [{ label: "([甲[1]],收购,[乙])", predict: "([甲[1]],收购,[乙]" }]);
    const { rows } = await score(alone, { bootstrap: null });
    expect(rows[0]).toMatchObject({ gold: ["收购"] });
  });

  it("reads four triples for paper and all for the others", async () => {
    const of = (order: readonly number[]) => order.map((i) => `([甲],关系${i},[乙])`).join(",");
    const answers = write("six.jsonl", [{ label: of([0, 1, 2, 3, 4, 5]), predict: of([5, 4, 3, 2, 1, 0]) }]);
    const { metrics } = await score(answers, { bootstrap: null });
    expect(metrics.conventions.micro.f1).toBe(1);
    expect(metrics.exactSet).toBe(1);
    expect(metrics.conventions.paper.f1).toBe(0.5);
    expect(metrics.counts).toMatchObject({ beyondPaperLimit: 1, unknownLabel: 0 });
  });

  it("says when predictions need a gold file", async () => {
    const found = write("alone.jsonl", [{ sentence: "甲乙", head: "甲", tail: "乙", predictions: [] }]);
    await expect(score(found)).rejects.toThrow("its lines have no gold labels");
  });
});
