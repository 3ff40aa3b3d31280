import fc from "fast-check";
import { expect, it } from "vitest";
import { decodeLossy, decodeStrict } from "./utf8.ts";

it("decodes what TextDecoder decodes, and refuses what it refuses", () => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const parts = fc.oneof(
    fc.string({ unit: "binary", maxLength: 3 }).map((text) => [...Buffer.from(text)]),
    fc.array(
      fc.constantFrom(0x61, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xef, 0xf0, 0x90, 0xf4, 0x8f, 0xf5),
      { maxLength: 4 },
    ),
  );
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 4 }), (chunks) => {
      const bytes = Uint8Array.from(chunks.flat());
      let expected: string | null = null;
      try {
        expected = strict.decode(bytes);
      } catch {
        expect(decodeLossy(bytes)).toContain("\ufffd");
      }
      expect(decodeStrict(bytes, 0, bytes.length)).toBe(expected);
      if (expected !== null) expect(decodeLossy(bytes)).toBe(expected);
    }),
    { seed: 3, numRuns: 2000 },
  );
});

it("replaces every lost byte by itself", () => {
  expect(decodeLossy([0xe4, 0xb8, 0x61, 0xf0, 0x9f, 0x98])).toBe("\ufffd\ufffda\ufffd\ufffd\ufffd");
});
