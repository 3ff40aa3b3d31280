import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openDataset } from "../dataset.ts";

const folder = () => mkdtempSync(join(tmpdir(), "cre-texts-"));
const row = (text: string, entities: [number, number][], relations: [string, number, number][]) => ({
  tokens: [...text],
  entities: entities.map(([start, end]) => ({ type: "公司", start, end })),
  relations: relations.map(([type, head, tail]) => ({ type, head, tail })),
});

it("opens SpERT's JSON as a data folder, with the places of all entities", async () => {
  const directory = folder();
  const rows = [
    row(
      "甲收购乙和丙",
      [
        [0, 1],
        [3, 4],
        [5, 6],
      ],
      [
        ["收购", 0, 1],
        ["收购", 0, 2],
      ],
    ),
    row(
      "丁与戊",
      [
        [0, 1],
        [2, 3],
      ],
      [],
    ),
  ];
  writeFileSync(join(directory, "train.json"), JSON.stringify(rows));
  const dataset = await openDataset(directory, { format: "spert" });
  expect(dataset.labels).toMatchObject({ labels: ["收购", "unknown"], noRelation: "unknown" });
  expect(dataset.notices[0]).toContain('its rows have 1 labels, "unknown" means no relation');
  const { examples, counts } = await dataset.split("train");
  expect(examples).toEqual([
    {
      sentence: "甲收购乙和丙",
      head: "甲",
      tail: "乙",
      headSpan: { start: 0, end: 1 },
      tailSpan: { start: 3, end: 4 },
      relations: ["收购"],
    },
    {
      sentence: "甲收购乙和丙",
      head: "甲",
      tail: "丙",
      headSpan: { start: 0, end: 1 },
      tailSpan: { start: 5, end: 6 },
      relations: ["收购"],
    },
  ]);
  expect(counts).toMatchObject({ rows: 2, badRows: 0, examples: 2 });
  expect(await dataset.mentions("train")).toEqual([
    {
      sentence: "甲收购乙和丙",
      mentions: [
        { start: 0, end: 1 },
        { start: 3, end: 4 },
        { start: 5, end: 6 },
      ],
    },
    {
      sentence: "丁与戊",
      mentions: [
        { start: 0, end: 1 },
        { start: 2, end: 3 },
      ],
    },
  ]);
  expect(await dataset.mentions("test")).toEqual([]);
});

it("names bad rows, skips them on wish, and knows the labels of a labels.json only", async () => {
  const directory = folder();
  const rows = [
    row(
      "甲收购乙",
      [
        [0, 1],
        [3, 4],
      ],
      [["收购", 0, 1]],
    ),
    row(
      "甲和乙",
      [
        [0, 1],
        [2, 9],
      ],
      [["合作", 0, 1]],
    ),
  ];
  writeFileSync(join(directory, "train.json"), JSON.stringify(rows));
  const dataset = await openDataset(directory, { format: "spert" });
  await expect(dataset.split("train")).rejects.toThrow("0 ≤ start < end ≤ 3");
  expect((await dataset.split("train", { onBadRow: "skip" })).counts).toMatchObject({
    rows: 2,
    badRows: 1,
    examples: 1,
  });
  writeFileSync(join(directory, "labels.json"), JSON.stringify({ labels: ["合作", "无"], noRelation: "无" }));
  const other = await openDataset(directory, { format: "spert" });
  expect(other.labels.labels).toEqual(["合作", "无"]);
  await expect(other.split("train", { onBadRow: "skip" })).rejects.toThrow("收购");
  writeFileSync(
    join(directory, "train.json"),
    JSON.stringify([
      row(
        "甲和乙",
        [
          [0, 1],
          [2, 3],
        ],
        [],
      ),
    ]),
  );
  await expect(openDataset(folder(), { format: "spert" })).rejects.toThrow();
});
