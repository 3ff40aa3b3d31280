import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { temporaryFolder, toyRows } from "../../test/e2e/support.ts";
import { runFolder } from "./run-folder.ts";
import { lookNotice, looksFile, readTestLooks, recordTestLook } from "./test-looks.ts";

const temporary = temporaryFolder("looks");
afterAll(() => temporary.remove());

describe("looks at test rows", () => {
  const folder = runFolder(temporary.path);
  const day = (date: number) => new Date(Date.UTC(2026, 10, date));

  it("are counted by rows or by the data folder's name", async () => {
    expect(await readTestLooks(folder)).toEqual([]);
    const [rows, others] = [toyRows(8, 3), toyRows(8, 4)];
    expect(await recordTestLook(folder, "toy", rows, day(1))).toHaveLength(1);
    expect(await recordTestLook(folder, "elsewhere", others, day(2))).toHaveLength(1);
    // The same rows under another name, then the same name with other rows.
    expect(await recordTestLook(folder, "copy", rows, day(3))).toHaveLength(2);
    const third = await recordTestLook(folder, "toy", rows.slice(1), day(4));
    expect(third.map(({ date, data, rows: count }) => [date.slice(0, 10), data, count])).toEqual([
      ["2026-11-01", "toy", 8],
      ["2026-11-04", "toy", 7],
    ]);
    expect(readFileSync(looksFile(folder), "utf8").trimEnd().split("\n")).toHaveLength(4);
  });

  it("survive a line that a crash cut", async () => {
    appendFileSync(looksFile(folder), '{"date":"2026-');
    expect(await readTestLooks(folder)).toHaveLength(4);
    expect(existsSync(looksFile(folder))).toBe(true);
    // The next line begins on its own.
    expect(await recordTestLook(folder, "toy", toyRows(8, 3), day(5))).toHaveLength(4);
    expect(await readTestLooks(folder)).toHaveLength(5);
  });

  it("give a notice from the second one on, with the days before", () => {
    const look = (date: number) => ({ date: day(date).toISOString(), data: "toy", rows: 8, digest: "" });
    expect(lookNotice([look(1)])).toBeNull();
    expect(lookNotice([look(1), look(2)])).toMatch(
      /^look 2 of this run at the test rows of toy \(before: 2026-11-01\)/,
    );
    expect(lookNotice([1, 1, 2, 3, 4, 5].map(look))).toContain("look 6 of this run");
    expect(lookNotice([1, 1, 2, 3, 4, 5].map(look))).toContain("(before: 2026-11-01, …, 2026-11-04)");
  });
});
