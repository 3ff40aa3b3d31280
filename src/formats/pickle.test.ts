import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { type PickleRules, type PickleValue, readPickle } from "./pickle.ts";

const RULES: PickleRules = {
  calls: new Map([["a.pair", (operands) => ({ kind: "tuple", items: [...operands, "made"] })]]),
  names: new Set(["a.Name"]),
  persistent: (id) => ({ kind: "object", object: { id } }),
};
const run = (code: string): PickleValue => readPickle(Buffer.from(code, "latin1"), "x.pkl", RULES);
const P = "\x80\x02";

// Pickles written by hand, opcode by opcode (Python's pickletools.dis shows the same).
describe("readPickle", () => {
  it("builds plain data", () => {
    expect(run(`${P}K\x07.`)).toBe(7);
    expect(run(`${P}J\xff\xff\xff\xff.`)).toBe(-1);
    expect(run(`${P}\x8a\x06\x00\x00\x00\x00\x00\x01.`)).toBe(2 ** 40);
    expect(run(`${P}\x8a\x01\xff.`)).toBe(-1);
    expect(run(`${P}G\x3f\xe0\0\0\0\0\0\0.`)).toBe(0.5);
    expect(run(`${P}X\x03\0\0\0\xe4\xb8\xad.`)).toBe("中");
    expect(run(`${P}K\x01K\x02K\x03\x87.`)).toEqual({ kind: "tuple", items: [1, 2, 3] });
    expect(run(`${P}(N\x88\x89t.`)).toEqual({ kind: "tuple", items: [null, true, false] });
    expect(run(`${P}](K\x01K\x02eK\x03a.`)).toEqual({ kind: "list", items: [1, 2, 3] });
    expect(run(`${P}}\x8c\x01aK\x01s.`)).toEqual({ kind: "dict", entries: new Map([["a", 1]]) });
    expect(run(`${P}K\x05q\x09h\x09\x86.`)).toEqual({ kind: "tuple", items: [5, 5] });
  });

  it("calls what the rules know", () => {
    expect(run(`${P}ca\npair\nK\x01\x85R.`)).toEqual({ kind: "tuple", items: [1, "made"] });
    expect(run("\x80\x04\x8c\x01a\x8c\x04pair\x93)R.")).toEqual({ kind: "tuple", items: ["made"] });
    expect(run(`${P}ca\nName\n.`)).toEqual({ kind: "global", name: "a.Name" });
    expect(run(`${P}K\x01Q.`)).toEqual({ kind: "object", object: { id: 1 } });
  });

  it.each([
    ['x.pkl, byte 13: asks for "os.system", which a state dict does not need.', `${P}cos\nsystem\n.`],
    ["calls something that cannot be called", `${P}ca\nName\n)R.`],
    ["calls something that cannot be called", `${P}K\x01)R.`],
    ["a name is no text", `${P}K\x01K\x02\x93.`],
    ["1 bytes are needed, 0 are left", `${P}K\x01`],
    ["4294967295 bytes are needed, 2 are left", `${P}X\xff\xff\xff\xffa.`],
    ["Infinity bytes are needed, 2 are left", `${P}\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.`],
    ["a text is not UTF-8", `${P}\x8c\x01\xff.`],
    ["a whole number has 9 bytes, expected at most 8", `${P}\x8a\x09aaaaaaaaa.`],
    ["expected less than 2^53", `${P}\x8a\x08aaaaaaaa.`],
    ["the stack is empty", `${P}.`],
    ["the stack is empty", `${P}K\x01(.`],
    ["ends with values left on the stack", `${P}K\x01K\x01.`],
    ["there is no mark", `${P}t.`],
    ["memo 1 is empty", `${P}h\x01.`],
    ["something that is no list", `${P}}K\x01a.`],
    ["something that is no dict", `${P}](K\x01K\x02u.`],
    ["something that is no dict", `${P}}(K\x01u.`],
    ["a key is null, expected a text or a number", `${P}}NK\x01s.`],
    ["a key is a tuple of 0, expected a text or a number", `${P}})K\x01s.`],
    ["sets attributes of something that is no dict", `${P}K\x01Nb.`],
    ["is nested deeper than 100 marks", `${P}${"(".repeat(101)}`],
    ["opcode 0x69 is not part of a state dict", `${P}i`],
    ["is pickle protocol 1, expected 2 to 5", "\x80\x01."],
    ["the stack is higher than 1048576", `${P}${"N".repeat((1 << 20) + 2)}`],
    ["has more than 2000000 steps", `${P}N${"q\x00".repeat(2_000_000)}`],
    ["a name has no end", `${P}c${"a".repeat(2000)}`],
  ])("says: %s", (message, code) => {
    expect(() => run(code)).toThrow(UserError);
    expect(() => run(code)).toThrow(message);
  });

  it("shows values that share their parts a thousandfold in a few words", () => {
    const shared = `)${"q\x00h\x00\x86".repeat(60)}`;
    expect(() => run(`${P}}${shared}Ns.`)).toThrow("a key is a tuple of 2");
  });

  it("keeps a prototype in a file from changing objects", () => {
    run(`${P}}\x8c\x09__proto__}\x8c\x01xK\x01ss.`);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });
});
