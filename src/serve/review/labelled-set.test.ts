import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openLabelledSet } from "./labelled-set.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-labelled-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("finds the rows of sentences, also after changes and when it is opened again", async () => {
  const file = join(folder, "labelled.jsonl");
  const row = (id: string, sentence: string, run = "r") => ({
    ...{ id, sentence, head: "甲", tail: "乙", relations: ["合作"], run, model: null },
    verdict: "confirmed" as const,
  });
  let set = await openLabelledSet(file);
  await set.add([row("1", "甲与乙。"), row("2", "甲和乙。"), row("3", "甲与乙。"), row("4", "甲与乙。", "other")]);
  await set.add([row("2", "甲与乙。")]);
  await set.remove("1");
  const found = () => set.ofSentences("r", ["甲与乙。", "甲和乙。", "甲与乙。", "丙。"]).map(({ id }) => id);
  expect(found()).toEqual(["3", "2"]);
  await set.close();
  set = await openLabelledSet(file);
  expect(found()).toEqual(["3", "2"]);
  await set.close();
});
