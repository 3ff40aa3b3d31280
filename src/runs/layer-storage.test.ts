import { expect, it } from "vitest";
import { BYTE_PRODUCTS } from "../compute/byte-products.ts";
import { byteInstructions } from "../compute/open.ts";
import { layerStorageOf } from "./layer-storage.ts";

it("is that of the recipe for float, and for auto where no evidence says otherwise", () => {
  expect(layerStorageOf({ precision: "float" }, "nf4", "AVX2")).toBe("nf4");
  for (const [instructions, { isDefault }] of Object.entries(BYTE_PRODUCTS)) {
    expect(layerStorageOf({ precision: "auto" }, "bfloat16", instructions)).toBe(isDefault ? "w8a8" : "bfloat16");
  }
  expect(layerStorageOf({ precision: "auto" }, "bfloat16", null)).toBe("bfloat16");
});

it("is w8a8 for int8, with a line where float products are known to be faster", () => {
  const notices: string[] = [];
  const int8 = (instructions: string | null) =>
    layerStorageOf({ precision: "int8" }, "bfloat16", instructions, (line) => notices.push(line));
  expect(int8("AVX2")).toBe("w8a8");
  expect(int8("an instruction of tomorrow")).toBe("w8a8");
  expect(notices).toEqual([]);
  expect(int8("plain TypeScript")).toBe("w8a8");
  expect(notices).toEqual([
    "8-bit products (plain TypeScript) are slower here than float ones; --products float turns them off.",
  ]);
});

it("says that products whose sums were wrong are not offered", () => {
  expect(() => layerStorageOf({ precision: "int8" }, "bfloat16", null)).toThrow(
    'decode.precision is "int8", but 8-bit products gave wrong sums when this processor was tested: they are not offered here.',
  );
});

it("knows the instructions of this machine", () => {
  expect(Object.keys(BYTE_PRODUCTS)).toContain(byteInstructions());
});
