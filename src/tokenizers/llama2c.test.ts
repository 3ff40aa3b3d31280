import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { loadLlama2cTokenizer, parseLlama2cTokenizer } from "./llama2c.ts";
import { openTokenizer } from "./open-tokenizer.ts";

const SHARED = new URL("../../../shared/checkpoints/stories260k/", import.meta.url).pathname;
const GOLDEN = new URL("../../test/golden/", import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "cre-tok-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Piece = [text: string | Uint8Array, score: number];
const BYTE_PIECES = Array.from({ length: 256 }, (_, byte): Piece => {
  return [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 0];
});
const FIRST: Piece[] = [["<unk>", 0], ["\n<s>\n", 0], ["\n</s>\n", 0], ...BYTE_PIECES];

/** A tokenizer file of llama2.c. */
function bytesOf(pieces: readonly Piece[], maxPieceBytes = 8): Uint8Array {
  const header = Buffer.alloc(4);
  header.writeInt32LE(maxPieceBytes);
  const parts = pieces.map(([text, score]) => {
    const bytes = Buffer.from(text);
    const head = Buffer.alloc(8);
    head.writeFloatLE(score);
    head.writeInt32LE(bytes.length, 4);
    return Buffer.concat([head, bytes]);
  });
  return new Uint8Array(Buffer.concat([header, ...parts]));
}

const WHOLE: Piece[] = [
  ...FIRST,
  [" a", -1],
  ["ab", -2],
  [" ab", -3],
  [" ", -4],
  ["a", -5],
  ["b", -6],
  ["关系", -7],
  ["关", -8],
  ["系", -9],
];

describe("parseLlama2cTokenizer", () => {
  const tokenizer = parseLlama2cTokenizer(bytesOf(WHOLE), "tok.bin");
  const pieces = (text: string) => tokenizer.encode(text).map(tokenizer.pieceOf);

  it("reads the table", () => {
    expect(tokenizer).toMatchObject({ vocabularySize: 268, unkId: 0, bosId: 1, eosId: 2, padId: null });
    expect(tokenizer.idOf("</s>")).toBe(2);
    expect(tokenizer.pieceOf(259)).toBe("▁a");
    expect(tokenizer.pieceOf(3 + 0x41)).toBe("<0x41>");
  });

  it("puts a space in front, joins by score and falls back to bytes", () => {
    expect(pieces("ab")).toEqual(["▁ab"]);
    expect(pieces("b a")).toEqual(["▁", "b", "▁a"]);
    expect(pieces("关系")).toEqual(["▁", "关系"]);
    expect(pieces("é\n")).toEqual(["▁", "<0xC3>", "<0xA9>", "<0x0A>"]);
    expect(pieces("")).toEqual([]);
  });

  it("keeps text that looks like a mark as text, and decodes to what was encoded", () => {
    expect(tokenizer.encode("<s>")).not.toContain(1);
    for (const text of ["ab  ba", "关系 <s>", " é\n😀", "a\tb"])
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.decode([1, 261, 2])).toBe("ab");
    expect(() => tokenizer.decode([268])).toThrow("tok.bin: id 268 is outside the tokenizer's 268 pieces.");
  });
});

describe("a file that is no tokenizer", () => {
  const at = (index: number, piece: Piece) => WHOLE.map((one, i) => (i === index ? piece : one));

  it.each([
    [new Uint8Array(3), "has 3 bytes, too short for a llama2.c tokenizer"],
    [bytesOf([], 0), "says that its longest piece has 0 bytes, expected 1 to 8000"],
    [bytesOf([], 2 ** 31 - 1), "says that its longest piece has 2147483647 bytes, expected 1 to 8000"],
    [bytesOf([]), 'piece 0 is missing, expected "<unk>"'],
    [bytesOf(at(260, ["123456789", 0])), "piece 260 has 9 bytes, expected 1 to 8"],
    [bytesOf(at(260, ["", 0])), "piece 260 has 0 bytes, expected 1 to 8"],
    [bytesOf(at(260, [Uint8Array.of(0xe4, 0xb8), 0])), "piece 260 is not UTF-8"],
    [bytesOf(at(260, ["x", Number.NaN])), "the score of piece 260 is not a number"],
    [bytesOf(at(1, ["<bos>", 0])), 'piece 1 is "<bos>", expected "<s>"'],
    [bytesOf(at(260, [" a", 0])), 'piece 260 is "▁a", which piece 259 already is'],
    [bytesOf(at(5, ["x", 0])), "has 255 byte pieces, expected 256 with byte_fallback on"],
    [bytesOf(WHOLE).subarray(0, -1), "ends inside piece 267"],
    [new Uint8Array([...bytesOf(WHOLE), 0]), "ends inside piece 268"],
  ])("%# is refused", (bytes, problem) => {
    expect(() => parseLlama2cTokenizer(bytes, "tok.bin")).toThrow(UserError);
    expect(() => parseLlama2cTokenizer(bytes, "tok.bin")).toThrow(`tok.bin: ${problem}`);
  });

  it("is refused or read, whatever bytes were changed", () => {
    const whole = bytesOf(WHOLE);
    let refused = 0;
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (index, byte, length) => {
        const bytes = whole.slice(0, length < whole.length / 2 ? length : whole.length);
        if (index < bytes.length) bytes[index] = byte;
        try {
          const tokenizer = parseLlama2cTokenizer(bytes, "tok.bin");
          tokenizer.decode(tokenizer.encode("ab 关系"));
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          refused++;
        }
      }),
      { numRuns: 500, seed: 9 },
    );
    expect(refused).toBeGreaterThan(250);
  });
});

describe("openTokenizer", () => {
  it("finds the only tok*.bin of a folder", async () => {
    writeFileSync(join(folder, "tok268.bin"), bytesOf(WHOLE));
    writeFileSync(join(folder, "stories.bin"), "no tokenizer");
    expect((await openTokenizer(folder)).vocabularySize).toBe(268);
    expect((await openTokenizer(join(folder, "tok268.bin"), { expectedPieces: 268 })).bosId).toBe(1);
    await expect(openTokenizer(folder, { expectedPieces: 512 })).rejects.toThrow(
      `${join(folder, "tok268.bin")}: the tokenizer has 268 pieces, the model says 512.`,
    );
    await expect(openTokenizer(join(folder, "stories.bin"))).rejects.toThrow(
      "stories.bin: says that its longest piece",
    );
    writeFileSync(join(folder, "tokenizer.bin"), bytesOf(WHOLE));
    await expect(openTokenizer(folder)).rejects.toThrow(
      `${folder}: has 2 tokenizers (tok268.bin, tokenizer.bin), expected one.`,
    );
  });
});

const absent = !existsSync(SHARED);
if (absent) console.warn("llama2c.test.ts: real file skipped, ../shared/checkpoints/stories260k is absent");

describe.skipIf(absent)("tok512.bin of stories260K", () => {
  it("encodes as llama2.c does (test/golden/llama2c-tokenizer.json)", async () => {
    const tokenizer = await loadLlama2cTokenizer(join(SHARED, "tok512.bin"));
    expect(tokenizer.vocabularySize).toBe(512);
    const { rows } = JSON.parse(readFileSync(new URL("llama2c-tokenizer.json", GOLDEN), "utf8")) as {
      rows: { text: string; ids: number[] }[];
    };
    expect(rows.length).toBe(18);
    for (const { text, ids } of rows) {
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids });
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });
});
