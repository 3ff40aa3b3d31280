import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { readCharsmap } from "./charsmap.ts";

/** A double array of `size` units with some set, and the replacements behind it. */
function blob(units: Record<number, number>, replacements: string, size = 256): Uint8Array {
  const words = new Uint32Array(1 + size);
  words[0] = 4 * size;
  for (const [at, unit] of Object.entries(units)) words[1 + Number(at)] = unit;
  return Uint8Array.from([...new Uint8Array(words.buffer), ...Buffer.from(replacements)]);
}

const A = 0x61;
const HAS_VALUE = 0x100;
const VALUE = 0x80000000;
/** The unit of label "a" whose value lies at unit `at`. */
const leaf = (at: number) => A | HAS_VALUE | ((A ^ at) << 10);

describe("readCharsmap", () => {
  it("reads a rule", () => {
    expect(readCharsmap(blob({ [A]: leaf(5), 5: VALUE + 2 }, "x\0yz\0"), "m")).toEqual({ from: ["a"], to: ["yz"] });
  });

  const cases: [string, Uint8Array, string][] = [
    ["too few bytes", new Uint8Array(7), "7 bytes, expected at least 8"],
    [
      "a trie that ends behind the blob",
      blob({}, "").subarray(0, 900),
      "the trie has 1024 bytes, expected a multiple of 4",
    ],
    ["a trie of odd size", Uint8Array.of(3, 0, 0, 0, 1, 1, 1, 1), "the trie has 3 bytes"],
    ["a value outside the trie", blob({ [A]: leaf(300) }, "x\0"), "a value lies at unit 300 of 256"],
    ["a replacement outside the blob", blob({ [A]: leaf(5), 5: VALUE + 9 }, "x\0"), "points to byte 9 of the 2 bytes"],
    [
      "a replacement without end",
      blob({ [A]: leaf(5), 5: VALUE }, "xyz"),
      "the replacement at byte 0 has no end within 1024 bytes",
    ],
    [
      "a replacement that is not UTF-8",
      Uint8Array.from([...blob({ [A]: leaf(5), 5: VALUE }, ""), 0xe4, 0]),
      "is not UTF-8",
    ],
    [
      "a rule from half a character",
      blob({ 228: 228 | HAS_VALUE | ((228 ^ 5) << 10), 5: VALUE }, "x\0"),
      "whole UTF-8",
    ],
    ["a trie that runs in a circle", blob({ [A]: A | (A << 10) }, ""), "a rule is longer than 256 bytes"],
    [
      "a trie that branches without end",
      blob({ [A]: A | (A << 10), 98: 98 | (98 << 10) }, ""),
      "a rule is longer than",
    ],
  ];
  it.each(cases)("refuses %s", (_name, bytes, expected) => {
    expect(() => readCharsmap(bytes, "m")).toThrow(UserError);
    expect(() => readCharsmap(bytes, "m")).toThrow(`m: the normalisation rules cannot be read: `);
    expect(() => readCharsmap(bytes, "m")).toThrow(expected);
  });

  it("bounds a trie whose paths share nodes", () => {
    // 20 levels, at each of which two labels lead to the same next place: 2^20 paths through 40 units.
    const units: Record<number, number> = {};
    for (let level = 0; level < 20; level++) {
      const [here, next] = [level * 256, (level + 1) * 256];
      for (const label of [A, A + 1]) units[here ^ label] = label | ((here ^ label ^ next) << 10);
    }
    expect(() => readCharsmap(blob(units, "", 21 * 256), "m")).toThrow("the trie has more than 524288 nodes");
  });
});
