import { mkdtempSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openReplay } from "../../base/replay.ts";
import { emptyReadCounts, type ReadItem } from "./format.ts";
import { readDocuments } from "./read-documents.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-kept-"));
const file = (name: string) => join(folder, name);

async function read(kept?: Awaited<ReturnType<typeof openReplay>>) {
  const counts = emptyReadCounts();
  const items: ReadItem[] = [];
  for await (const item of readDocuments([folder], { counts, kept })) items.push(item);
  return { counts, items };
}

it("gives what an interrupted reading parsed, with its counts, and parses a changed file again", async () => {
  const time = new Date(1_700_000_000_000);
  writeFileSync(file("a.html"), "<p>甲收购乙。</p>");
  utimesSync(file("a.html"), time, time);
  writeFileSync(file("b.md"), "# 题\n\n丙。\n\n```\ncode\n```\n");
  writeFileSync(file("c.pdf"), "%PDF-1.4 broken");
  writeFileSync(file("d.txt"), "丁。");
  const replayFile = join(mkdtempSync(join(tmpdir(), "cre-kept-")), "files");
  const first = await openReplay(replayFile, "job");
  const whole = await read(first);
  await first.close(false);
  expect(whole.counts).toMatchObject({ files: 4, documents: 3, bad: 1 });
  expect(whole).toEqual(await read());
  // Other bytes of the same size and time: only a file that is parsed again can tell.
  writeFileSync(file("a.html"), "<p>戊收购己。</p>");
  utimesSync(file("a.html"), time, time);
  const second = await openReplay(replayFile, "job");
  expect(await read(second)).toEqual(whole);
  await second.close(false);
  utimesSync(file("a.html"), time, new Date(0));
  const third = await openReplay(replayFile, "job");
  const { items } = await read(third);
  await third.close(true);
  expect(items[0]).toEqual({ id: "a.html", text: "戊收购己。", fields: {} });
});
