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

  it("says when predictions need a gold file", async () => {
    const found = write("alone.jsonl", [{ sentence: "甲乙", head: "甲", tail: "乙", predictions: [] }]);
    await expect(score(found)).rejects.toThrow("carry no gold labels");
  });
});
