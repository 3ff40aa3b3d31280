import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { readMessage } from "./protobuf.ts";

function fieldsOf(...bytes: number[]): number[][] {
  const fields: number[][] = [];
  const content = Uint8Array.from(bytes);
  readMessage({ bytes: content, start: 0, end: content.length, name: "m" }, (...field) => fields.push(field));
  return fields;
}

describe("readMessage", () => {
  it("gives number, wire type, value and place of every field", () => {
    expect(fieldsOf(0x08, 0xac, 0x02)).toEqual([[1, 0, 300, 3, 3]]);
    expect(fieldsOf(0x12, 2, 7, 7, 0x1d, 1, 2, 3, 4)).toEqual([
      [2, 2, 0, 2, 4],
      [3, 5, 0, 5, 9],
    ]);
    expect(fieldsOf(0x21, 1, 2, 3, 4, 5, 6, 7, 8)).toEqual([[4, 1, 0, 1, 9]]);
    expect(fieldsOf(0x98, 0x03, 1)).toEqual([[51, 0, 1, 3, 3]]);
    // −1 of an int32 takes all ten bytes.
    expect(fieldsOf(0x08, ...new Array(9).fill(0xff), 1)).toHaveLength(1);
  });

  const cases: [string, number[], string][] = [
    ["a cut tag", [0x80], "m: ends inside a field tag at byte 0"],
    ["a cut value", [0x08, 0x80], "m: ends inside field 1 at byte 1"],
    [
      "an endless varint",
      [0x08, ...new Array(11).fill(0x80)],
      "field 1 at byte 1 is longer than the 10 bytes of a varint",
    ],
    ["field number 0", [0x00, 1], "field number 0 at byte 0, expected 1 to 536870911"],
    ["a field number out of range", [...new Array(8).fill(0xf8), 1, 1], "expected 1 to 536870911"],
    ["a group", [0x0b], "field 1 at byte 0 has wire type 3, expected 0, 1, 2 or 5"],
    ["a length past the end", [0x0a, 5, 1, 2], "field 1 at byte 0 has 5 bytes, 2 are left"],
    ["a huge length", [0x0a, ...new Array(9).fill(0xff), 1], "bytes, 0 are left"],
    ["a cut number", [0x0d, 1, 2, 3], "field 1 at byte 0 has 4 bytes, 3 are left"],
  ];
  it.each(cases)("refuses %s", (_name, bytes, expected) => {
    expect(() => fieldsOf(...bytes)).toThrow(UserError);
    expect(() => fieldsOf(...bytes)).toThrow(expected);
  });
});
