import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { nodeFolder } from "../base/node-folder.ts";
import { openTokenizer } from "./open-tokenizer.ts";
import { parseSentencePiece, readSentencePiece } from "./sentencepiece.ts";

type Field = [number, number | string | Uint8Array | { float: number }];

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

/** Writes one protocol buffer message: numbers as varints, `{ float }` as 4 bytes, the rest with a length. */
function message(fields: Field[]): Uint8Array {
  const bytes = fields.flatMap(([field, value]) => {
    if (typeof value === "number") return [...varint(field * 8), ...varint(value)];
    if (typeof value === "object" && "float" in value) {
      return [...varint(field * 8 + 5), ...new Uint8Array(Float32Array.of(value.float).buffer)];
    }
    const content = typeof value === "string" ? Buffer.from(value) : value;
    return [...varint(field * 8 + 2), ...varint(content.length), ...content];
  });
  return Uint8Array.from(bytes);
}

const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6];
type PieceRow = [text: string | Uint8Array, score?: number, type?: number];
const SPECIAL: PieceRow[] = [
  ["<unk>", 0, UNKNOWN],
  ["<s>", 0, CONTROL],
  ["</s>", 0, CONTROL],
];
const BYTES: PieceRow[] = Array.from({ length: 256 }, (_, byte) => [
  `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  0,
  BYTE,
]);
const BPE: Field = [3, 2];
const BYTE_FALLBACK: Field = [35, 1];
const KEEP_SPACES: Field = [4, 0];
const NO_PREFIX: Field = [3, 0];

function write(rows: PieceRow[], trainer: Field[] = [BPE], normalizer: Field[] = [[1, "identity"], KEEP_SPACES]) {
  const pieces = rows.map(([text, score = 0, type = NORMAL]): Field => {
    return [
      1,
      message([
        [1, text],
        [2, { float: score }],
        [3, type],
      ]),
    ];
  });
  return message([...pieces, [2, message(trainer)], [3, message(normalizer)]]);
}

const parse = (...model: Parameters<typeof write>) => parseSentencePiece(write(...model), "tiny.model");
const PLAIN: Field[] = [[1, "identity"], KEEP_SPACES, NO_PREFIX];

describe("encoding", () => {
  it("adds the dummy prefix, joins by score and falls back to bytes", () => {
    const rows: PieceRow[] = [
      ...SPECIAL,
      ...BYTES,
      ["▁", -9],
      ["上", -8],
      ["海", -7],
      ["上海", -1],
      ["▁上海", -2],
      ["▁上", 0],
    ];
    const tokenizer = parse(rows, [BPE, BYTE_FALLBACK]);
    const pieces = (text: string) => tokenizer.encode(text).map(tokenizer.pieceOf);
    expect(tokenizer.encode("")).toEqual([]);
    // "▁上" has the best score, so "▁上海" can only come from "▁上" + "海".
    expect(pieces("上海")).toEqual(["▁上海"]);
    expect(pieces(" 上海上")).toEqual(["▁", "▁上海", "上"]);
    expect(pieces("é")).toEqual(["▁", "<0xC3>", "<0xA9>"]);
    expect(pieces("海\ud83d海")).toEqual(["▁", "海", "<0xEF>", "<0xBF>", "<0xBD>", "海"]);
    expect(tokenizer.decode(tokenizer.encode("  上海 é\u{20bb7}海"))).toBe("  上海 é\u{20bb7}海");
  });

  it("takes the leftmost of equal scores", () => {
    const tokenizer = parse([...SPECIAL, ["a"], ["aa", -1], ["aaa", -1]], [BPE], PLAIN);
    expect(tokenizer.encode("aaaa").map(tokenizer.pieceOf)).toEqual(["aaa", "a"]);
    expect(tokenizer.encode("aaaaa").map(tokenizer.pieceOf)).toEqual(["aaa", "aa"]);
  });

  it("joins characters that are no pieces themselves", () => {
    const tokenizer = parse([...SPECIAL, ["\u{20bb7}野", -1], ["家"]], [BPE], PLAIN);
    expect(tokenizer.encode("\u{20bb7}野家")).toEqual([3, 4]);
    expect(tokenizer.encode("野家\u{20bb7}")).toEqual([0, 4, 0]);
  });

  it("gives one unknown id for consecutive unknown characters", () => {
    const tokenizer = parse([...SPECIAL, ["a"]], [BPE], PLAIN);
    expect(tokenizer.encode("axyza上海")).toEqual([3, 0, 3, 0]);
    expect(tokenizer.decode([3, 0, 3])).toBe("a \u2047 a");
  });

  it("keeps user-defined symbols whole, the longest first", () => {
    const rows: PieceRow[] = [
      ...SPECIAL,
      ["<", 0],
      ["a", 0],
      ["a<", 5],
      ["<x", 0, USER_DEFINED],
      ["<xy>", 0, USER_DEFINED],
    ];
    const tokenizer = parse(rows, [BPE], PLAIN);
    expect(tokenizer.encode("a<xy>a<a<x").map(tokenizer.pieceOf)).toEqual(["a", "<xy>", "a<", "a", "<x"]);
  });

  it("leaves text that looks like a control or byte piece as text", () => {
    const rows: PieceRow[] = [...SPECIAL, ...BYTES, ["<s", 1], ["<"], ["s"], [">"], ["<s>", 2, UNUSED]];
    const tokenizer = parse(rows, [BPE, BYTE_FALLBACK], PLAIN);
    expect(tokenizer.encode("<s>").map(tokenizer.pieceOf)).toEqual(["<s", ">"]);
    expect(tokenizer.encode("<0x41>").map(tokenizer.pieceOf)).toEqual([
      "<",
      "<0x30>",
      "<0x78>",
      "<0x34>",
      "<0x31>",
      ">",
    ]);
    expect(tokenizer.idOf("<s>")).toBe(1);
  });

  it("removes extra spaces when the model asks for it", () => {
    const rows: PieceRow[] = [...SPECIAL, ["▁", -1], ["a"], ["b"]];
    const tokenizer = parse(rows, [BPE], [[1, "identity"]]);
    const pieces = (text: string) => tokenizer.encode(text).map(tokenizer.pieceOf).join("");
    expect(pieces("  a   b  ")).toBe("▁a▁b");
    expect(pieces("   ")).toBe("");
    expect(tokenizer.decode(tokenizer.encode("  a   b  "))).toBe("a b");
    const plainSpaces = parse([...SPECIAL, [" ", -1], ["a"]], [BPE], [[5, 0], KEEP_SPACES]);
    expect(plainSpaces.encode("a a").map(plainSpaces.pieceOf)).toEqual([" ", "a", " ", "a"]);
  });

  it("ends soon on long text without spaces", () => {
    const rows: PieceRow[] = [...SPECIAL, ["a"], ...[2, 4, 8, 16].map((n): PieceRow => ["a".repeat(n), n])];
    const tokenizer = parse(rows, [BPE], PLAIN);
    const ids = tokenizer.encode("a".repeat(200_000));
    expect(ids).toHaveLength(200_000 / 16);
    expect(new Set(ids)).toEqual(new Set([tokenizer.idOf("a".repeat(16))]));
  });
});

describe("decoding", () => {
  const tokenizer = parse([...SPECIAL, ...BYTES, ["▁"], ["▁a"], ["b"]], [BPE, BYTE_FALLBACK]);
  const decode = (...pieces: string[]) => tokenizer.decode(pieces.map((piece) => tokenizer.idOf(piece) as number));

  it("hides control pieces and takes the dummy prefix away once", () => {
    expect(decode("<s>", "▁a", "▁a", "</s>", "b")).toBe("a ab");
    expect(decode("▁", "▁a")).toBe(" a");
    expect(decode("b", "▁")).toBe("b ");
  });

  it("gives U+FFFD for every byte that belongs to no character", () => {
    expect(decode("<0xE4>", "<0xB8>", "<0x8A>", "<0xE4>", "<0xB8>", "b")).toBe("上\ufffd\ufffdb");
    expect(decode("<0xEF>", "<0xBB>", "<0xBF>", "<0x61>")).toBe("\ufeffa");
    expect(decode("<0xED>", "<0xA0>", "<0x80>")).toBe("\ufffd\ufffd\ufffd");
  });

  it("refuses ids outside the vocabulary", () => {
    for (const id of [-1, 262, 1.5, Number.NaN]) {
      expect(() => tokenizer.decode([id])).toThrow(`tiny.model: id ${id} is outside the tokenizer's 262 pieces.`);
    }
    expect(tokenizer.idOf("nothing")).toBeNull();
  });

  it("names the special ids that the model names", () => {
    expect(tokenizer).toMatchObject({ bosId: 1, eosId: 2, padId: null, unkId: 0 });
    const named = parse(
      [
        ["?", 0, UNKNOWN],
        ["[B]", 0, CONTROL],
        ["[P]", 0, CONTROL],
      ],
      [BPE, [46, "[B]"], [48, "[P]"]],
    );
    expect(named).toMatchObject({ bosId: 1, eosId: null, padId: 2, unkId: 0 });
  });
});

describe("files that are not what they should be", () => {
  const duplicate: PieceRow[] = [...SPECIAL, ["a"], ["a"]];
  const cases: [string, Uint8Array, string][] = [
    ["no bytes", new Uint8Array(0), "tiny.model: has no pieces, expected a SentencePiece model."],
    [
      "no normalizer",
      message([
        [1, message([[1, "a"]])],
        [2, message([BPE])],
      ]),
      "has no normalizer_spec",
    ],
    ["Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\noid x"), "is a Git LFS pointer"],
    ["another model type", write(SPECIAL, [[3, 1]]), "is a SentencePiece model of type unigram, expected BPE."],
    ["a strange model type", write(SPECIAL, [[3, 77]]), "of type 77, expected BPE."],
    ["space as suffix", write(SPECIAL, [BPE, [24, 1]]), "treat_whitespace_as_suffix, which is not supported"],
    ["no unknown piece", write([["a"]]), "has 0 pieces of type unknown, expected 1"],
    ["the same piece twice", write(duplicate), 'piece 4 is "a", which piece 3 already is'],
    ["an empty piece", write([...SPECIAL, [""]]), "piece 3: is empty, expected text"],
    ["a piece with a zero byte", write([...SPECIAL, ["a\0"]]), "piece 3: is text with a zero byte"],
    ["a piece that is not UTF-8", write([...SPECIAL, [Uint8Array.of(0xe4, 0xb8)]]), "piece 3: its piece is not UTF-8"],
    [
      "a piece of 8000 bytes",
      write([...SPECIAL, ["a".repeat(8000)]]),
      "piece 3: has 8000 bytes, expected less than 8000",
    ],
    ["a score that is none", write([...SPECIAL, ["a", Number.NaN]]), "piece 3: its score is not a number"],
    ["a strange type", write([...SPECIAL, ["a", 0, 7]]), "piece 3: has type 7, expected 1 to 6"],
    [
      "missing byte pieces",
      write(SPECIAL, [BPE, BYTE_FALLBACK]),
      "has 0 byte pieces, expected 256 with byte_fallback on",
    ],
    ["byte pieces unasked", write([...SPECIAL, ...BYTES]), "has 256 byte pieces, expected 0 with byte_fallback off"],
    [
      "a bad byte piece",
      write([...SPECIAL, ["<0xfg>", 0, BYTE]]),
      'is the byte piece "<0xfg>", expected <0x00> to <0xFF>',
    ],
    ["a number as piece", message([[1, 5]]), "piece 0 is a varint, expected a length and bytes"],
    ["text as score", message([[1, message([[2, "a"]])]]), "score is a length and bytes, expected 4 bytes"],
    [
      "rules that are absent",
      write(SPECIAL, [BPE], [[1, "nmt_nfkc"]]),
      'normaliser "nmt_nfkc" has no rules in the file',
    ],
    ["rules that are broken", write(SPECIAL, [BPE], [[2, "abc"]]), "normalisation rules cannot be read: 3 bytes"],
  ];

  it.each(cases)("refuses %s", (_name, bytes, expected) => {
    expect(() => parseSentencePiece(bytes, "tiny.model")).toThrow(UserError);
    expect(() => parseSentencePiece(bytes, "tiny.model")).toThrow(expected);
  });

  it("refuses pieces whose preparation would not end", () => {
    const rows = Array.from({ length: 6 }, (_, i): PieceRow => [`${i}${"a".repeat(7990)}`]);
    expect(() => parse([...SPECIAL, ...rows])).toThrow("its pieces are too long (piece 7 has 7991 characters)");
  });

  it("refuses a piece count other than the config's", () => {
    const bytes = write(SPECIAL);
    expect(parseSentencePiece(bytes, "tiny.model", { expectedPieces: 3 }).vocabularySize).toBe(3);
    expect(() => parseSentencePiece(bytes, "tiny.model", { expectedPieces: 4 })).toThrow(
      "tiny.model: the tokenizer has 3 pieces, config.json says 4.",
    );
  });
});

describe("opening a tokenizer", () => {
  it("finds tokenizer.model in a folder and says what it looked for", async () => {
    const folder = await mkdtemp(join(tmpdir(), "cre-tokenizer-"));
    try {
      await expect(openTokenizer(folder)).rejects.toThrow(
        "has no tokenizer, expected a file tokenizer.model or tokenizer.json in it.",
      );
      const file = join(folder, "tokenizer.model");
      await writeFile(file, write(SPECIAL));
      expect((await openTokenizer(folder)).vocabularySize).toBe(3);
      expect((await openTokenizer(file)).bosId).toBe(1);
      await expect(openTokenizer(folder, { expectedPieces: 9 })).rejects.toThrow("config.json says 9");
      await truncate(file, 65 * 2 ** 20);
      await expect(readSentencePiece(nodeFolder(folder), "tokenizer.model")).rejects.toThrow(
        "has 68157440 bytes, expected a SentencePiece model of at most",
      );
      await expect(openTokenizer(join(folder, "absent"))).rejects.toThrow(
        "expected a model folder or a tokenizer file",
      );
      await expect(readSentencePiece(nodeFolder(folder), ".")).rejects.toThrow(
        "is not a file, expected a SentencePiece model",
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
