import { UserError } from "../base/errors.ts";
import { BYTE, CONTROL, MAX_PIECES, NORMAL, UNKNOWN, USER_DEFINED } from "./sentencepiece-model.ts";
import { type BpeSettings, type LearntPieces, learnPieces, RESERVED_PIECES, type WeightedText } from "./train-bpe.ts";

const MARKS: readonly (readonly [string, number])[] = [
  ["<unk>", UNKNOWN],
  ["<s>", CONTROL],
  ["</s>", CONTROL],
  ["<pad>", CONTROL],
];
/** Fields of sentencepiece_model.proto; its wire types: 0 varint, 2 bytes, 5 four bytes. */
const BPE_MODEL = 2;

/** Learns a tokenizer and returns it as the bytes of a SentencePiece BPE model: identity normaliser, no dummy prefix, byte fallback. */
export async function trainBpeModel(
  texts: AsyncIterable<WeightedText> | Iterable<WeightedText>,
  settings: BpeSettings,
): Promise<Uint8Array> {
  checkSettings(settings);
  return bpeModelBytes(await learnPieces(texts, settings), settings);
}

function checkSettings({ pieces, coverage, longest, symbols }: BpeSettings): void {
  const isCount = (value: number, least: number, most: number) =>
    Number.isInteger(value) && value >= least && value <= most;
  if (!isCount(pieces, RESERVED_PIECES, MAX_PIECES)) {
    throw new UserError(`${pieces} pieces, expected ${RESERVED_PIECES} to ${MAX_PIECES}.`);
  }
  if (!(coverage > 0 && coverage <= 1))
    throw new UserError(`The coverage is ${coverage}, expected more than 0, at most 1.`);
  if (!isCount(longest, 1, 64)) throw new UserError(`The longest piece has ${longest} characters, expected 1 to 64.`);
  const wrong = symbols.find((symbol, i) => symbol === "" || symbol.includes("\0") || symbols.indexOf(symbol) !== i);
  if (wrong !== undefined)
    throw new UserError(`The symbol ${JSON.stringify(wrong)} is empty, has a zero byte or comes twice.`);
}

function bpeModelBytes({ joins, characters }: LearntPieces, settings: BpeSettings): Uint8Array {
  const pieces: Buffer[] = [];
  const put = (text: string, score: number, type: number) => {
    const fields = [bytesField(1, text), floatField(2, score), ...(type === NORMAL ? [] : [varintField(3, type)])];
    pieces.push(bytesField(1, Buffer.concat(fields)));
  };
  for (const [text, type] of MARKS) put(text, 0, type);
  for (const symbol of settings.symbols) put(symbol, 0, USER_DEFINED);
  for (let byte = 0; byte < 256; byte++) put(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 0, BYTE);
  let rank = 0;
  // As in SentencePiece, the first join has the highest score; characters join nothing and come last.
  for (const text of [...joins, ...characters]) put(text, 0 - rank++, NORMAL);
  const trainer = [
    varintField(3, BPE_MODEL),
    varintField(4, settings.pieces),
    floatField(10, settings.coverage),
    varintField(20, settings.longest),
    varintField(25, 1), // split_digits
    ...settings.symbols.map((symbol) => bytesField(31, symbol)),
    varintField(35, 1), // byte_fallback
    ...MARKS.map((_, id) => varintField(40 + id, id)),
  ];
  const normalizer = [bytesField(1, "identity"), varintField(3, 0), varintField(4, 0), varintField(5, 1)];
  return Buffer.concat([...pieces, bytesField(2, Buffer.concat(trainer)), bytesField(3, Buffer.concat(normalizer))]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
    if (rest < 128) return Buffer.from(bytes);
  }
}

function varintField(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

function bytesField(field: number, content: string | Uint8Array): Buffer {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return Buffer.concat([varint(field * 8 + 2), varint(bytes.length), bytes]);
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint(field * 8 + 5), bytes]);
}
