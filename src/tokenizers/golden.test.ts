import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { parseSentencePiece } from "./sentencepiece.ts";

const GOLDEN = new URL("../../test/golden/tokenizers/", import.meta.url);
const NAMES = ["rules", "bytes"];

interface Row {
  text?: string;
  ids: number[];
  decoded?: string;
}

const modelBytes = (name: string) => new Uint8Array(readFileSync(new URL(`${name}.model`, GOLDEN)));

/** What a hostile file may do: be refused with a message, or work. Anything else fails the test. */
const refusedOrWorks = (bytes: Uint8Array): "refused" | "works" => {
  try {
    const tokenizer = parseSentencePiece(bytes, "hostile.model");
    tokenizer.decode(tokenizer.encode("北京A B ＡÅ 上海\u{20bb7}  the company"));
    return "works";
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.message).toContain("hostile.model");
    return "refused";
  }
};

// sentencepiece 0.1.99 made these; later versions turn an unused piece that cannot fall apart into bytes instead.
describe.each(NAMES)("against sentencepiece 0.1.99: %s", (name) => {
  const tokenizer = parseSentencePiece(modelBytes(name), `${name}.model`);
  const [origin, ...rows] = readFileSync(new URL(`${name}.jsonl`, GOLDEN), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row & { pieces?: number });

  it("reads the model", () => {
    expect(tokenizer.vocabularySize).toBe(origin.pieces);
    expect(tokenizer.padId).toBe(name === "rules" ? 3 : null);
  });

  it("encodes the same ids", () => {
    const encoded = rows.filter((row) => row.text !== undefined);
    expect(encoded.length).toBeGreaterThan(100);
    for (const { text = "", ids } of encoded) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
  });

  it("decodes the same text", () => {
    const decoded = rows.filter((row) => row.decoded !== undefined);
    expect(decoded.length).toBeGreaterThan(50);
    for (const { ids, decoded: text } of decoded) expect({ ids, text: tokenizer.decode(ids) }).toEqual({ ids, text });
  });
});

describe.each(NAMES)("a damaged file: %s", (name) => {
  const whole = modelBytes(name);

  it("is refused when cut at any length before its last part", () => {
    const works: number[] = [];
    for (let length = 0; length < whole.length; length++) {
      if (refusedOrWorks(whole.slice(0, length)) === "works") works.push(length);
    }
    // The parts behind the normaliser are optional: only a cut exactly before one of them goes unseen.
    expect(works.length).toBeLessThanOrEqual(2);
  });

  it("gives a message or works, whatever bytes change", () => {
    const change = fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) });
    let refused = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const bytes = whole.slice();
        for (const { at, byte } of changes) bytes[at] = byte;
        if (refusedOrWorks(bytes) === "refused") refused++;
      }),
      { seed: 5, numRuns: 700 },
    );
    expect(refused).toBeGreaterThan(100);
  });
});

it("refuses arbitrary bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => refusedOrWorks(bytes) === "refused"),
    { seed: 6, numRuns: 500 },
  );
});
