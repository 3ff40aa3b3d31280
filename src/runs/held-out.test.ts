import { describe, expect, it } from "vitest";
import type { Example } from "../data/example.ts";
import type { Recipe } from "../recipe/schema.ts";
import { holdOut, LEAST_HELD_ROWS, MOST_HELD_ROWS } from "./held-out.ts";

const recipe = (validationShare: number, seed = 1) => ({ train: { validationShare }, seed }) as Recipe;
/** Rows of which each sentence has three. */
const rows = (count: number): Example[] =>
  Array.from({ length: count }, (_, i) => ({
    sentence: `第${Math.floor(i / 3)}句`,
    head: `甲${i}`,
    tail: "乙",
    relations: ["收购"],
  }));

describe("rows held out for validation", () => {
  it("are the wanted share, by whole sentences, and nothing is lost", () => {
    const all = rows(3000);
    const { train, valid, held } = holdOut(recipe(0.1), { train: all });
    expect([train.length, valid.length, held]).toEqual([2700, 300, 300]);
    const sentences = new Set(valid.map(({ sentence }) => sentence));
    expect(train.some(({ sentence }) => sentences.has(sentence))).toBe(false);
    expect(new Set([...train, ...valid])).toEqual(new Set(all));
  });

  it("are the same for a seed, and others for another", () => {
    const all = rows(900);
    const of = (seed: number) => holdOut(recipe(0.1, seed), { train: all }).valid;
    expect(of(1)).toEqual(of(1));
    expect(of(1)).not.toEqual(of(2));
  });

  it("are none where the data has validation rows, for a share of 0, and where they would be too few", () => {
    const all = rows(900);
    const valid = rows(6);
    expect(holdOut(recipe(0.1), { train: all, valid })).toEqual({ train: all, valid, held: 0 });
    expect(holdOut(recipe(0), { train: all })).toEqual({ train: all, valid: [], held: 0 });
    const few = rows(10 * LEAST_HELD_ROWS - 10);
    expect(holdOut(recipe(0.1), { train: few })).toEqual({ train: few, valid: [], held: 0 });
  });

  it("are bounded for large data", () => {
    expect(holdOut(recipe(0.5), { train: rows(30_000) }).held).toBe(MOST_HELD_ROWS - (MOST_HELD_ROWS % 3));
  });

  it("leave a sentence with most of the rows to the training", () => {
    const all = [...rows(300).map((row) => ({ ...row, sentence: "一句" })), ...rows(300)];
    const { valid } = holdOut(recipe(0.1), { train: all });
    expect(valid).toHaveLength(60);
    expect(valid.every(({ sentence }) => sentence !== "一句")).toBe(true);
  });
});
