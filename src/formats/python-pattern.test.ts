import { describe, expect, it } from "vitest";
import { matchAll } from "./match-patterns.ts";
import { fromPython } from "./python-pattern.ts";

const matches = (source: string, text: string) => matchAll([fromPython(source, "x")], [text], "x")[0][0];

describe("fromPython", () => {
  it.each([
    [String.raw`.*\.(q|k)_proj`, "layers.0.q_proj", true],
    ["^(model)(?!.*(head|embed)).*", "model.layers.0", true],
    ["^(model)(?!.*(head|embed)).*", "model.embed", false],
    [String.raw`layers\.\d{1,2}\.[^.]+$`, "layers.12.mlp", true],
    [String.raw`layers\.[0-9]{1,2}\.[\w]+(?<=mlp)`, "layers.1.mlp", true],
    [String.raw`\bmodel\b`, "a.model.b", true],
    [String.raw`a\-b\_c`, "a-b_c", true],
    ["a{2}b{1,}c{0,1}", "aabb", true],
  ])("%s on %s: %s", (source, text, is) => {
    expect(matches(source, text) !== null).toBe(is);
  });

  it("names groups as Python does", () => {
    expect(matches(String.raw`.*\.(?P<idx>\d+)\.`, "layers.12.mlp")?.groups?.idx).toBe("12");
  });

  it.each([
    ["(?i)Q_PROJ", '"(?i)"'],
    ["(?P=name)", '"(?P="'],
    ["(?>a)", '"(?>a"'],
    ["(?#note)a", '"(?#n"'],
    [String.raw`\Aq\Z`, String.raw`"\\A"`],
    [String.raw`\1`, String.raw`"\\1"`],
    ["a*+b", '"*+b"'],
    ["a{,3}", '"{,3"'],
    ["a{1,2}+", '"{1,'],
    ["[]a]", '"[]a"'],
    ["[^]a]", '"[^]"'],
  ])("refuses %s, which means something else in Python", (source, part) => {
    expect(() => fromPython(source, "adapter_config.json")).toThrow(
      `adapter_config.json: ${JSON.stringify(source)} has ${part}`,
    );
  });

  it("refuses what is no expression, and one that is too long", () => {
    expect(() => fromPython("(a", "x")).toThrow('x: "(a" is not a regular expression.');
    expect(() => fromPython("a{3,1}", "x")).toThrow("is not a regular expression");
    expect(() => fromPython("a".repeat(20_001), "x")).toThrow("has 20001 characters, expected at most 20000");
  });
});

describe("matchAll", () => {
  it("stops an expression that backtracks without an end", () => {
    const started = performance.now();
    const hostile = () => matchAll([fromPython("(a+)+$", "x")], [`${"a".repeat(60)}b`], "x", 200);
    expect(hostile).toThrow("x: the regular expression takes more than 0.2 s.");
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it("gives matches by expression, then by text", () => {
    const found = matchAll(
      ["a", "b"].map((one) => fromPython(one, "x")),
      ["a", "ab", "c"],
      "x",
    );
    expect(found.map((row) => row.map((match) => match !== null))).toEqual([
      [true, true, false],
      [false, true, false],
    ]);
  });
});
