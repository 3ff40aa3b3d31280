import { appendFileSync, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openReplay } from "./replay.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-replay-"));
let count = 0;
const newFile = () => join(folder, `${count++}.jsonl`);

/** Works on items as a process does that is interrupted before `until`; tells which were computed. */
async function work(file: string, items: readonly string[], job = "a", until = items.length): Promise<string[]> {
  const replay = await openReplay(file, job);
  const computed: string[] = [];
  for (const item of items.slice(0, until)) {
    const known = await replay.take(item);
    if (known !== null) expect(known).toEqual({ text: `${item}😀` });
    else {
      computed.push(item);
      await replay.add(item, { text: `${item}😀` });
    }
  }
  await replay.close(until === items.length);
  return computed;
}

it("computes nothing twice, wherever it is interrupted, and leaves no file", async () => {
  const items = ["甲", "乙", "丙", "丁"];
  const file = newFile();
  expect(await work(file, items, "a", 1)).toEqual(["甲"]);
  expect(await work(file, items, "a", 3)).toEqual(["乙", "丙"]);
  expect(await work(file, items, "a", 2)).toEqual([]);
  expect(await work(file, items)).toEqual(["丁"]);
  expect(existsSync(file)).toBe(false);
});

it("forgets half a line, what another job left, and what follows a change", async () => {
  const file = newFile();
  await work(file, ["甲", "乙", "丙"], "a", 2);
  appendFileSync(file, '["丙",{"te');
  expect(await work(file, ["甲", "乙", "丙", "丁"], "a", 3)).toEqual(["丙"]);
  expect(await work(file, ["甲", "新", "丙", "丁"], "a", 3)).toEqual(["新", "丙"]);
  expect(readFileSync(file, "utf8").trim().split("\n")).toHaveLength(4);
  expect(await work(file, ["甲", "乙"], "b", 1)).toEqual(["甲"]);
});

it("leaves out what is too large", async () => {
  const file = newFile();
  const replay = await openReplay(file, "a");
  await replay.add("甲", "x".repeat(40 * 2 ** 20));
  await replay.add("乙", 1);
  await replay.close(false);
  const again = await openReplay(file, "a");
  expect(await again.take("甲")).toBeNull();
  expect(await again.take("乙")).toBe(1);
  await again.close(true);
});
