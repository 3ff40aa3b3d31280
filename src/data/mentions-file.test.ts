import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { mentionsLine, readMentionsFile } from "./mentions-file.ts";

const folder = mkdtempSync(join(tmpdir(), "cre-mentions-"));
const write = (...lines: string[]) => {
  const file = join(folder, "train.mentions.jsonl");
  writeFileSync(file, lines.join("\n"));
  return file;
};

it("keeps sentences and places, and moves places with a normalisation", async () => {
  const one = {
    sentence: "😀ＡＢ收购乙。",
    mentions: [
      { start: 2, end: 4 },
      { start: 6, end: 7 },
    ],
  };
  const file = write(mentionsLine(one), "", mentionsLine({ sentence: "丙。", mentions: [] }));
  expect(await readMentionsFile(file)).toEqual([one, { sentence: "丙。", mentions: [] }]);
  expect((await readMentionsFile(file, "nfkc"))[0]).toEqual({ ...one, sentence: "😀AB收购乙。" });
});

it("names every row that cannot be used", async () => {
  const cases = [
    "{",
    '{"sentence": "甲乙"}',
    '{"sentence": "甲乙", "mentions": [[0, 3]]}',
    '{"sentence": "甲乙", "mentions": [[1, 1]]}',
    '{"sentence": "甲乙", "mentions": [{"start": 0, "end": 1}]}',
    '{"sentence": "😀乙", "mentions": [[1, 3]]}',
    JSON.stringify({ sentence: "甲", mentions: Array(301).fill([0, 1]) }),
  ];
  const error = await readMentionsFile(write(...cases)).catch((thrown) => thrown);
  expect(error.problems).toEqual([
    expect.stringContaining('line 1: got no sentence with mentions, expected {"sentence": TEXT'),
    expect.stringContaining("line 2: got no sentence with mentions"),
    expect.stringContaining("line 3: got the mention [0,3], expected [start, end] in UTF-16 units within the 2"),
    expect.stringContaining("line 4: got the mention [1,1]"),
    expect.stringContaining("line 5: got the mention"),
    expect.stringContaining("line 6: got the mention [1, 3] with half a surrogate pair"),
    expect.stringContaining("line 7: got 301 mentions, expected at most 300"),
  ]);
});
