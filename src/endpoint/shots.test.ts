import { describe, expect, it } from "vitest";
import { createShots } from "./shots.ts";

const row = (sentence: string, head: string, tail: string, relation = "合作") => ({
  ...{ sentence, head, tail, relations: [relation] },
});
const ROWS = [
  row("东风与西岭合作。", "东风", "西岭"),
  row("远山集团收购了南湖公司的股份。", "远山集团", "南湖公司", "收购"),
  row("北辰在本市开设工厂。", "北辰", "本市"),
  row("大江集团收购了长河公司的全部股份。", "大江集团", "长河公司", "收购"),
  row("远山集团 收购了近水公司的股份。", "近水公司", "远山集团", "被收购"),
];
const QUESTION = { sentence: "远山集团收购了近水公司的股份。", head: "远山集团", tail: "近水公司" };

describe("training rows that are shown", () => {
  it("are the nearest by entities and words, the nearest last, never of the own sentence", () => {
    const shots = createShots(ROWS, { count: 2, by: "nearest", seed: 1 })(QUESTION);
    expect(shots).toEqual([ROWS[3], ROWS[1]]);
    expect(createShots(ROWS, { count: 9, by: "nearest", seed: 1 })(QUESTION)).toHaveLength(4);
  });

  it("are random ones by the seed and the question alone, never of the own sentence", () => {
    const of = (seed: number, question = QUESTION) => createShots(ROWS, { count: 2, by: "random", seed })(question);
    expect(of(1)).toEqual(of(1));
    expect(new Set(of(1))).toHaveLength(2);
    const seeds = Array.from({ length: 30 }, (_, i) => of(i));
    expect(new Set(seeds.map((shots) => JSON.stringify(shots))).size).toBeGreaterThan(5);
    for (const shots of seeds) expect(shots).not.toContain(ROWS[4]);
    expect(createShots([ROWS[4]], { count: 2, by: "random", seed: 1 })(QUESTION)).toEqual([]);
    expect(createShots([], { count: 2, by: "random", seed: 1 })(QUESTION)).toEqual([]);
  });

  it("are none for a count of 0, and no rows without an answer", () => {
    expect(createShots(ROWS, { count: 0, by: "nearest", seed: 1 })(QUESTION)).toEqual([]);
    const bare = ROWS.map(({ relations: _, ...rest }) => rest);
    expect(createShots(bare, { count: 2, by: "nearest", seed: 1 })(QUESTION)).toEqual([]);
  });
});
