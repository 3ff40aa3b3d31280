import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { codePointOffsets } from "./offsets.ts";

describe("codePointOffsets", () => {
  it("counts by hand", () => {
    // 甲 😀 𠮷 乙: 1 + 2 + 2 + 1 units.
    const offsets = codePointOffsets("甲😀𠮷乙");
    expect(offsets.length).toBe(4);
    expect([0, 1, 3, 5, 6].map(offsets.toCodePoint)).toEqual([0, 1, 2, 3, 4]);
    expect([0, 1, 2, 3, 4].map(offsets.toUtf16)).toEqual([0, 1, 3, 5, 6]);
  });

  it("refuses what is no place of a character", () => {
    const offsets = codePointOffsets("甲😀");
    expect(() => offsets.toCodePoint(2)).toThrow("offset 2 is inside a surrogate pair");
    expect(() => offsets.toCodePoint(4)).toThrow("offset 4, expected a whole number from 0 to 3 (UTF-16 units)");
    expect(() => offsets.toUtf16(3)).toThrow("offset 3, expected a whole number from 0 to 2 (code points)");
    expect(() => offsets.toUtf16(0.5)).toThrow("offset 0.5");
  });

  it("agrees with Array.from, half pairs included", () => {
    const unit = fc.constantFrom("甲", "a", "😀", "𠮷", "\ud83d", "\ude00", "\n");
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 40 }), (parts) => {
        const text = parts.join("");
        const points = Array.from(text);
        const offsets = codePointOffsets(text);
        expect(offsets.length).toBe(points.length);
        for (let i = 0; i <= points.length; i++) {
          const utf16 = points.slice(0, i).join("").length;
          expect(offsets.toUtf16(i)).toBe(utf16);
          expect(offsets.toCodePoint(utf16)).toBe(i);
        }
      }),
    );
  });
});
