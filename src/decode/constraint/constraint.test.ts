import { describe, expect, it } from "vitest";
import { TOKENIZER } from "../../../test/tiny-extractor.ts";
import { createRandom } from "../../base/random.ts";
import { openTokenizer } from "../../tokenizers/open-tokenizer.ts";
import { type ByteAutomaton, byteAutomaton } from "./byte-automaton.ts";
import { tokenConstraint } from "./constraint.ts";
import { readJsonSchema } from "./json-schema.ts";
import { readRegex } from "./regex.ts";
import { readTokenBytes } from "./token-bytes.ts";

function accepts(automaton: ByteAutomaton, text: string): boolean {
  let state = automaton.start;
  for (const byte of Buffer.from(text)) {
    state = automaton.next(state, byte);
    if (state < 0) return false;
  }
  return automaton.accepts(state);
}

const TEXTS = [
  ...[
    "",
    "a",
    "b",
    "ab",
    "abc",
    "aab",
    "aaa",
    "ba",
    "1",
    "12",
    "a1",
    "-",
    "^",
    "]",
    "\\",
    ".",
    "\n",
    " ",
    "{2}",
    "a{2}",
  ],
  ...[
    "收购",
    "收",
    "购",
    "被收购",
    "合作",
    "é",
    "ß",
    "😀",
    "😀😀",
    "a😀",
    "\u2028",
    "\u007f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\uffff",
  ],
  ...["2024-01-31", "foo", "bar", "foobar", "foofoo", "x_y", "_", "\t", "　"],
];

describe("regular expressions", () => {
  it.each([
    ...[
      "a*",
      "a+b?",
      "(a|b)+",
      "a{2}",
      "a{2,}",
      "a{1,2}b",
      "[ab]*",
      "[^a]",
      "[^a-z\\u4e00-\\u9fff]*",
      ".",
      ".*",
      "\\d+",
      "\\w+",
    ],
    ...[
      "\\W",
      "\\s",
      "\\S+",
      "[\\d_]+",
      "收购|被收购|合作",
      "(?:收|购)+",
      "(?<name>a)b?",
      "😀+",
      "[😀é]",
      "[\\u0080-\\u{10ffff}]",
      "[\\x00-\\x7f]*",
    ],
    ...[
      "^a|b$",
      "\\d{4}-\\d{2}-\\d{2}",
      "(foo|bar)*?",
      "a{2}?",
      "[\\]^-]",
      "[-a]+",
      "\\.|\\\\",
      "\\{2\\}",
      "a\\{2\\}",
      "",
      "(|a)b",
      "[^\\n]",
    ],
  ])("%s", (source) => {
    const expected = new RegExp(`^(?:${source.replace(/^\^/, "").replace(/\$$/, "")})$`, "u");
    const automaton = byteAutomaton(readRegex(source));
    expect(TEXTS.filter((text) => accepts(automaton, text))).toEqual(TEXTS.filter((text) => expected.test(text)));
  });

  it.each([
    ["a(?=b)", "look-around"],
    ["(?<!a)b", "look-around"],
    ["(a)\\1", "back-reference"],
    ["\\bfoo", "word boundary"],
    ["\\p{L}+", "Write its ranges, for example [\\u4e00-\\u9fff]"],
    ["(?i)a", "flags"],
    ["a^b", "the anchor ^"],
    ["(a$)", "the anchor $"],
    ["*a", "without anything to repeat"],
    ["(a", "never closed"],
    ["a)", "closes nothing"],
    ["[a", "never closed"],
    ["[b-a]", "range without order"],
    ["[^\\s\\S]", "a class without a character"],
    ["a{3,2}", "the count {3,2}"],
    ["a{2000}", "a count over 1000"],
    ["a**", "a repetition of a repetition"],
    ["\\uD800", "an escape that is no character"],
    ["\\q", "the escape \\q"],
    ["a".repeat(5000), "at most 4000"],
    [`${"(".repeat(60)}a${")".repeat(60)}`, "groups inside 50 groups"],
    ["((a{1000}){1000}){9}", "more than 30000 places"],
  ])("%s is refused", (source, message) => {
    const problem = () => {
      try {
        byteAutomaton(readRegex(source));
        return "";
      } catch (error) {
        return `${(error as Error).message} ${(error as { hint?: string }).hint ?? ""}`;
      }
    };
    expect(problem()).toContain(message);
  });
});

const SCHEMA = {
  type: "object",
  title: "Triple",
  properties: {
    relation: { enum: ["收购", "合作", 'say "x"'] },
    count: { type: "integer" },
    share: { type: ["number", "null"] },
    names: { type: "array", items: { $ref: "#/$defs/name" }, minItems: 1, maxItems: 2 },
    isSure: { type: "boolean" },
  },
  required: ["relation", "names"],
  additionalProperties: false,
  $defs: { name: { type: "string", minLength: 1, maxLength: 3 } },
};

describe("JSON schemas", () => {
  it("accept what is valid, keys in order, and nothing else", () => {
    const automaton = byteAutomaton(readJsonSchema(SCHEMA));
    const valid = [
      '{"relation":"收购","names":["甲"]}',
      '{"relation": "合作", "count": -12, "names": ["甲", "\\"\\u00e9"], "isSure": true}',
      '{"relation":"say \\"x\\"","share":1.5e-3,"names":["a","bcd"]}',
      '{"relation":"收购","share":null,"names":["甲"]}',
    ];
    for (const text of valid) {
      JSON.parse(text);
      expect(accepts(automaton, text), text).toBe(true);
    }
    const invalid = [
      ...["{}", '{"relation":"收"}', '{"names":["甲"],"relation":"收购"}', '{"relation":"收购","names":[]}'],
      ...[
        '{"relation":"收购","names":["甲","乙","丙"]}',
        '{"relation":"收购","names":["甲乙丙丁"]}',
        '{"relation":"收购","names":["甲"]',
      ],
      ...[
        '{"relation":"收购","count":01,"names":["甲"]}',
        '{"relation":"收购","names":["\n"]}',
        '{"relation":"收购","names":["甲"],"x":1}',
      ],
    ];
    for (const text of invalid) expect(accepts(automaton, text), text).toBe(false);
  });

  it("allow each choice of optional keys", () => {
    const properties = { a: { type: "null" }, b: { type: "null" }, c: { type: "null" } };
    const automaton = byteAutomaton(readJsonSchema({ type: "object", properties, required: ["b"] }));
    const accepted = ["", "a", "b", "c", "ab", "ac", "bc", "abc", "ba"].filter((keys) =>
      accepts(automaton, `{${Array.from(keys, (key) => `"${key}":null`).join(",")}}`),
    );
    expect(accepted).toEqual(["b", "ab", "bc", "abc"]);
  });

  it("escape what a pattern has inside of a string", () => {
    const automaton = byteAutomaton(readJsonSchema({ type: "string", pattern: '^[a"\\\\\\n]+$' }));
    for (const text of ["a", '"', "\\", "\n", 'a"\\'])
      expect(accepts(automaton, JSON.stringify(text)), text).toBe(true);
    expect(accepts(automaton, '"b"')).toBe(false);
    expect(accepts(automaton, '"""')).toBe(false);
  });

  it.each([
    [{ type: "object", additionalProperties: true }, "additionalProperties: unknown keys"],
    [{ type: "integer", minimum: 3 }, "the schema.minimum: cannot be enforced"],
    [{ type: "string", format: "date" }, "the schema.format: cannot be enforced"],
    [{ type: "string", pattern: "a" }, "expected one from ^ to $"],
    [{ $ref: "#" }, "refers to itself"],
    [{ $ref: "#/$defs/x" }, 'there is no "#/$defs/x"'],
    [{ $ref: "http://a/b" }, "expected one into this schema"],
    [{}, "the schema.type is missing"],
    [{ type: "array" }, "has no items"],
    [{ type: "object", properties: {}, required: ["a"] }, "is not among the properties"],
    [[], "the schema is [], expected an object"],
    [{ allOf: [{ type: "null" }, { type: "null" }] }, "cannot be enforced together"],
    [
      { type: "object", properties: { a: { type: "object", properties: { b: { type: "tuple" } } } } },
      "properties.a.properties.b.type",
    ],
  ])("%j is refused", (schema, message) => {
    expect(() => readJsonSchema(schema)).toThrow(message);
  });
});

describe("token constraints", () => {
  const random = createRandom(7);
  const walkOf = async (automaton: ByteAutomaton, most: number) => {
    const tokenizer = await openTokenizer(TOKENIZER);
    const vocabulary = await readTokenBytes(tokenizer);
    const constraint = tokenConstraint(automaton, vocabulary, tokenizer.vocabularySize);
    const ids: number[] = [];
    let state = constraint.start;
    while (!constraint.mustEnd(state) && ids.length < most) {
      if (constraint.mayEnd(state) && random.uniform() < 0.3) break;
      const mask = constraint.allowed(state, ids.length === 0);
      const allowed = Array.from(mask.keys()).filter((id) => mask[id] === 1);
      expect(allowed.length).toBeGreaterThan(0);
      const token = allowed[random.below(allowed.length)];
      state = constraint.next(state, token, ids.length === 0);
      ids.push(token);
    }
    return { text: tokenizer.decode(ids), isWhole: constraint.mayEnd(state) };
  };

  it("let random tokens make nothing but texts of the language", async () => {
    const automaton = byteAutomaton(readJsonSchema(SCHEMA));
    let whole = 0;
    for (let i = 0; i < 20; i++) {
      const { text, isWhole } = await walkOf(automaton, 200);
      if (!isWhole) continue;
      whole++;
      const value = JSON.parse(text);
      expect(["收购", "合作", 'say "x"']).toContain(value.relation);
      expect(value.names.length).toBeGreaterThan(0);
    }
    expect(whole).toBeGreaterThan(10);
    const expression = /^(?:被?收购|合作)，[一-龥]{2,4}$/u;
    for (let i = 0; i < 10; i++) {
      const { text } = await walkOf(byteAutomaton(readRegex("(被?收购|合作)，[\\u4e00-\\u9fa5]{2,4}")), 50);
      expect(text).toMatch(expression);
    }
  });

  it("allow exactly the tokens that begin a text of the language", async () => {
    const tokenizer = await openTokenizer(TOKENIZER);
    const vocabulary = await readTokenBytes(tokenizer);
    const automaton = byteAutomaton(readRegex("收购案|收集|被"));
    const constraint = tokenConstraint(automaton, vocabulary, tokenizer.vocabularySize);
    const mask = constraint.allowed(constraint.start, true);
    const texts = Array.from(mask.keys()).flatMap((id) => (mask[id] === 1 ? [tokenizer.decode([id])] : []));
    const expected = new Set<string>();
    for (let id = 0; id < tokenizer.vocabularySize; id++) {
      const text = tokenizer.decode([id]);
      if (text !== "" && ["收购案", "收集", "被"].some((whole) => whole.startsWith(text))) expected.add(text);
    }
    // Tokens of one byte of a character decode to U+FFFD.
    expect(new Set(texts.filter((text) => text !== "\ufffd"))).toEqual(expected);
    expect(expected.size).toBeGreaterThan(1);
  });
});
