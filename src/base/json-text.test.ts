import { describe, expect, it } from "vitest";
import { exactNumber, findDuplicateKey, parseJson, readMembers, writeMembers } from "./json-text.ts";

describe("readMembers and writeMembers", () => {
  it.each([
    [
      '{ "a" : 1.0 , "b":\n[1e400, -0, {"c": 18446744073709551615}], "d":{} }',
      '{"a":1.0,"b":[1e400,-0,{"c":18446744073709551615}],"d":{}}',
    ],
    ['{"é\\u4e2d":"\\u4e2d \\" \\\\","2":true,"1":null}', '{"é中":"中 \\" \\\\","2":true,"1":null}'],
    ['{"__proto__":{"a": [ ]}, "x":"{,[:"}', '{"__proto__":{"a":[]},"x":"{,[:"}'],
    ["{}", "{}"],
    [" {\t} ", "{}"],
  ])("%s is written compact, numbers and order kept", (text, compact) => {
    expect(writeMembers(readMembers(text))).toBe(compact);
  });

  it("replace members in their place and add others", () => {
    const members = readMembers('{"a": 1, "b": 12345678901234567890}');
    expect(writeMembers(members, { c: 2n ** 64n, a: { x: "y" }, d: undefined })).toBe(
      '{"a":{"x":"y"},"b":12345678901234567890,"c":18446744073709551616}',
    );
  });

  it("give the text of JSON.stringify for values that a double holds", () => {
    const value = { 键: [1, 2.5, true, null, '\u2028"\\/'], o: { p: [], q: {} } };
    expect(writeMembers(readMembers(JSON.stringify(value, null, 3)))).toBe(JSON.stringify(value));
  });
});

it("parseJson refuses text that is not JSON and a key that occurs twice, by the name of the file", () => {
  expect(parseJson('{"a":{"a":[1]},"b":{"a":2}}', "x.json:")).toEqual({ a: { a: [1] }, b: { a: 2 } });
  expect(() => parseJson("{", "x.json:", { expected: "labels" })).toThrow(
    /^x\.json: is not JSON \(.*\), expected labels\.$/,
  );
  expect(() => parseJson('{"a":[{"x":1,"\\u0078":1}]}', "x.bin: the header")).toThrow(
    'x.bin: the header has the key "x" twice in one object, expected it once.',
  );
});

it("findDuplicateKey finds a key twice in one object only, escapes undone", () => {
  expect(findDuplicateKey('{"a":{"b":1},"b":[{"b":1},{"b":2}],"c":"a"}')).toBe(null);
  expect(findDuplicateKey('{"a":[{"x":1,"\\u0078":2}]}')).toBe("x");
  expect(findDuplicateKey('["a","a",{"a":"a"}]')).toBe(null);
});

it.each([
  ["12", 12],
  ["-9007199254740991", -9007199254740991],
  ["9007199254740993", 9007199254740993n],
  ["1.50", 1.5],
  ["1.0", 1],
  ["1E3", 1000],
  ["0.1", 0.1],
  ["-0.0e5", -0],
  ["1e400", null],
  ["0.1000000000000000055", null],
  ["9007199254740993.0", null],
])("exactNumber(%s) is %s", (text, value) => {
  expect(exactNumber(text)).toBe(value);
});
