import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { editDistance, messageOf, nearestName, printable, showValue, UserError, UserErrors } from "./errors.ts";

describe("UserError", () => {
  it("carries a hint and a cause", () => {
    const cause = new Error("below");
    const error = new UserError("a.txt: is empty.", { hint: "Fill it.", cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "UserError", message: "a.txt: is empty.", hint: "Fill it.", cause });
    expect(new UserError("x").hint).toBeUndefined();
    expect("cause" in new UserError("x")).toBe(false);
  });

  it("lists several problems", () => {
    const error = new UserErrors("a.yaml: 2 problems:", ["one", "two"], { hint: "Look." });
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({ name: "UserErrors", problems: ["one", "two"], hint: "Look." });
    expect(error.message).toBe("a.yaml: 2 problems:\n  - one\n  - two");
  });

  it("counts the problems that are too many to show", () => {
    const problems = Array.from({ length: 43 }, (_, i) => `problem ${i}`);
    const error = new UserErrors("a:", problems);
    expect(error.problems).toEqual(problems);
    expect(error.message.split("\n").slice(-2)).toEqual(["  - problem 39", "  - … and 3 more"]);
  });

  it("gives the message of anything thrown", () => {
    expect(messageOf(new Error("no"))).toBe("no");
    expect(messageOf("text")).toBe("text");
    expect(messageOf(undefined)).toBe("undefined");
  });
});

describe("nearestName", () => {
  it("counts insertions, deletions and substitutions", () => {
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(editDistance("", "abc")).toBe(3);
    expect(editDistance("abc", "")).toBe(3);
    expect(editDistance("关系", "关联")).toBe(1);
    expect(editDistance("kitten", "sitting", 4)).toBe(3);
    expect(editDistance("kitten", "sitting", 3)).toBe(3);
    expect(editDistance("kitten", "sitting", 2)).toBe(2);
    expect(editDistance("kitten", "dog", 3)).toBe(3);
  });

  it("finds a slip of the finger and nothing else", () => {
    const names = ["learningRate", "epochs", "rank"];
    expect(nearestName("learningRat", names)).toBe("learningRate");
    expect(nearestName("LEARNINGRATE", names)).toBe("learningRate");
    expect(nearestName("epoch", names)).toBe("epochs");
    expect(nearestName("rnk", names)).toBe("rank");
    expect(nearestName("temperature", names)).toBeNull();
    expect(nearestName("rank", [])).toBeNull();
    expect(nearestName("aa", ["ab", "aa"])).toBe("aa");
  });

  it("is cheap for a name of any length", () => {
    const start = performance.now();
    expect(nearestName("x".repeat(10_000_000), ["rank", "y".repeat(100)])).toBeNull();
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it("is the nearest by the distance to each, whatever the characters", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "B", "İ", "ß", "Ａ", "ａ", "甲", "乙", "😀"), maxLength: 6 });
    fc.assert(
      fc.property(word, fc.array(word, { maxLength: 8 }), (name, candidates) => {
        const distances = candidates.map((one) => editDistance(name.toLowerCase(), one.toLowerCase()));
        const least = Math.min(
          ...distances.filter((_, i) => Math.abs(candidates[i].length - name.length) <= distances[i]),
        );
        const nearest = nearestName(name, candidates);
        if (nearest === null) expect(least).toBeGreaterThan(2);
        else expect(editDistance(name.toLowerCase(), nearest.toLowerCase())).toBe(least);
      }),
      { numRuns: 2000 },
    );
  });

  it("is cheap for many names against many", () => {
    const names = Array.from({ length: 2000 }, (_, i) => `关系${i}号标签`);
    const start = performance.now();
    for (const [i] of names.entries()) expect(nearestName(`全然不同的名字${i}`, names)).toBeNull();
    expect(performance.now() - start).toBeLessThan(4000);
  });
});

describe("showValue", () => {
  it("shows values as JSON on one line, cut short", () => {
    expect(showValue({ a: [1, "b\n"] })).toBe('{"a":[1,"b\\n"]}');
    expect(showValue(undefined)).toBe("missing");
    expect(showValue(null)).toBe("null");
    expect(showValue(Number.POSITIVE_INFINITY)).toBe("Infinity");
    expect(showValue(12n)).toBe("12");
    expect(showValue({ n: 12n })).toBe("a value of type object");
    expect(showValue(() => {})).toBe("a value of type function");
    expect(showValue("abcdef", 4)).toBe('"abc…');
    expect(showValue("ab😀", 4)).toBe('"ab…');
  });

  it("takes what JSON cannot: deep and circular values", () => {
    let deep: unknown = 0;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(showValue(deep)).toBe("a value of type object");
  });
});

describe("printable", () => {
  it("shows control characters as escapes, and leaves text, line breaks and tabs", () => {
    expect(printable("关系\t<→>\n😀")).toBe("关系\t<→>\n😀");
    expect(printable("\u001b[2J\u0007\r\u007f\u009b31m\u0000")).toBe("\\u001b[2J\\u0007\\r\\u007f\\u009b31m\\u0000");
    expect(printable("a\u202eb\u2066c")).toBe("a\\u202eb\\u2066c");
  });
});
