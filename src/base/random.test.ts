import { describe, expect, it } from "vitest";
import { createRandom, mixSeed } from "./random.ts";

const first = <T>(count: number, next: () => T): T[] => Array.from({ length: count }, next);

// From test/golden/make/random_streams.py. A change of any of these numbers changes what every published seed means.
describe("known answers", () => {
  it("xoshiro128** as its authors publish it", () => {
    // The first numbers of the state 1, 2, 3, 4 are also those of the rand_xoshiro crate's tests.
    expect(first(8, createRandom([1, 2, 3, 4]).uint32)).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849,
    ]);
  });

  it("streams of seeds", () => {
    expect(first(4, createRandom(0).uint32)).toEqual([2059887745, 66349147, 915783832, 3962805356]);
    expect(first(4, createRandom(42).uint32)).toEqual([2613943314, 2410535851, 1082907086, 848066247]);
    expect(createRandom(42).state()).toEqual([1352388070, 2590855960, 2764691632, 2018072679]);
  });

  it("uniform, normal, below, shuffle", () => {
    expect(first(3, createRandom(7).uniform)).toEqual([0.2265194640494883, 0.14098468096926808, 0.06610820814967155]);
    const normals = [0.4534388181453372, -0.26660666236073843, -0.6322211595296284, -1.253130781592055];
    for (const [i, value] of first(4, createRandom(7).normal).entries()) expect(value).toBeCloseTo(normals[i], 12);
    const random = createRandom(7);
    expect(first(8, () => random.below(10))).toEqual([2, 1, 0, 6, 2, 5, 5, 4]);
    const items = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    expect(createRandom(7).shuffle(items)).toBe(items);
    expect(items).toEqual([7, 3, 5, 6, 9, 8, 4, 0, 1, 2]);
  });

  it("mixed seeds", () => {
    const mixed = [mixSeed(), mixSeed(0), mixSeed(1), mixSeed(1, 2), mixSeed(2, 1), mixSeed(-1), mixSeed(0xffffffff)];
    expect(mixed).toEqual([2654435769, 493009611, 1059954845, 4017857470, 3055902382, 4288662295, 4288662295]);
  });
});

describe("createRandom", () => {
  it("continues from a saved state", () => {
    const random = createRandom(3);
    first(5, random.normal);
    const state = JSON.parse(JSON.stringify(random.state()));
    const expected = first(20, random.uint32);
    expect(first(20, createRandom(state).uint32)).toEqual(expected);
  });

  it("refuses what is no state", () => {
    for (const state of [
      [],
      [1, 2, 3],
      [1, 2, 3, 4, 5],
      [0, 0, 0, 0],
      [1, 2, 3, -1],
      [1, 2, 3, 2 ** 32],
      [0.5, 1, 1, 1],
    ]) {
      expect(() => createRandom(state)).toThrow(/is not one of a random stream/);
    }
  });

  it("draws evenly and normally", () => {
    const count = 40_000;
    const random = createRandom(11);
    const bins = new Array<number>(10).fill(0);
    for (let i = 0; i < count; i++) bins[random.below(10)]++;
    // 5 standard deviations of a bin are 300.
    for (const bin of bins) expect(Math.abs(bin - count / 10)).toBeLessThan(300);
    const normals = first(count, random.normal);
    const mean = normals.reduce((a, b) => a + b, 0) / count;
    const variance = normals.reduce((a, b) => a + (b - mean) ** 2, 0) / count;
    const tail = normals.filter((value) => Math.abs(value) > 2).length / count;
    expect(Math.abs(mean)).toBeLessThan(0.025);
    expect(Math.abs(variance - 1)).toBeLessThan(0.04);
    expect(Math.abs(tail - 0.0455)).toBeLessThan(0.006);
    expect(normals.every(Number.isFinite)).toBe(true);
  });

  it("gives different streams for neighbouring seeds", () => {
    const starts = new Set(Array.from({ length: 1000 }, (_, seed) => createRandom(seed).uint32()));
    expect(starts.size).toBe(1000);
  });
});
