import { showValue, UserError } from "../base/errors.ts";
import { isJsonObject } from "./bounded-json.ts";
import { SPACE_MARK } from "./normalizer.ts";
import { expectFewSteps, expectGrowth, isShortContent } from "./step-bounds.ts";
import { decodeStrict } from "./utf8.ts";

/** Rewrites the texts of pieces, which joined are the decoded text. */
export type DecoderStep = (pieces: string[]) => string[];

const SUPPORTED = "Replace, ByteFallback, Fuse, Strip, Metaspace, or a Sequence of these";

/**
 * Reads the decoder of a tokenizer.json whose pieces are texts; errors use `where`. Throws a UserError for a kind that is not supported.
 */
export function readDecoder(value: unknown, where: string): (pieces: string[]) => string {
  const isSequence = isJsonObject(value) && value.type === "Sequence" && Array.isArray(value.decoders);
  const parts = isSequence ? (value.decoders as unknown[]) : [value];
  expectFewSteps(parts, where);
  const steps = parts.map((step) => {
    const read = readStep(step);
    if (read) return read;
    throw new UserError(`${where} is ${showValue(step)}, supported: ${SUPPORTED}.`);
  });
  return decoderOf(steps, where);
}

function decoderOf(steps: readonly DecoderStep[], where: string): (pieces: string[]) => string {
  return (pieces) => {
    let soFar = pieces;
    for (const step of steps) {
      soFar = step(soFar);
      expectGrowth(lengthOf(pieces), lengthOf(soFar), where);
    }
    return soFar.join("");
  };
}

const lengthOf = (pieces: readonly string[]) => pieces.reduce((sum, { length }) => sum + length, 0);

/** The decoder of transformers' LlamaTokenizer. */
export function llamaDecoder(stripsPrefix: boolean): (pieces: string[]) => string {
  const strip = stripsPrefix ? [stripOf(" ", 1, 0)] : [];
  return decoderOf([replaceOf(SPACE_MARK, " "), joinBytes, fuse, ...strip], "the decoder");
}

function readStep(step: unknown): DecoderStep | null {
  if (!isJsonObject(step)) return null;
  const { type, pattern, content, start, stop } = step;
  if (type === "ByteFallback") return joinBytes;
  if (type === "Fuse") return fuse;
  if (type === "Replace" && isJsonObject(pattern) && typeof pattern.String === "string" && pattern.String !== "") {
    return isShortContent(content) ? replaceOf(pattern.String, content) : null;
  }
  if (type === "Strip" && typeof content === "string" && [...content].length === 1) {
    return isCount(start) && isCount(stop) ? stripOf(content, start, stop) : null;
  }
  if (type !== "Metaspace") return null;
  const { replacement: mark = SPACE_MARK, prepend_scheme: scheme, add_prefix_space: adds } = step;
  const prefixes = scheme === undefined ? adds !== false : scheme !== "never";
  return typeof mark === "string" && mark !== "" ? metaspaceOf(mark, prefixes) : null;
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;

const fuse: DecoderStep = (pieces) => [pieces.join("")];

const replaceOf =
  (from: string, to: string): DecoderStep =>
  (pieces) =>
    pieces.map((piece) => piece.replaceAll(from, () => to));

/** The first piece's marks are the prefix that encoding set. */
const metaspaceOf =
  (mark: string, prefixes: boolean): DecoderStep =>
  (pieces) =>
    pieces.map((piece, i) => piece.replaceAll(mark, i === 0 && prefixes ? "" : " "));

const stripOf =
  (character: string, start: number, stop: number): DecoderStep =>
  (pieces) =>
    pieces.map((piece) => {
      let from = 0;
      let to = piece.length;
      for (let i = 0; i < start && piece.startsWith(character, from) && from < to; i++) from += character.length;
      for (let i = 0; i < stop && piece.endsWith(character, to) && to > from; i++) to -= character.length;
      return piece.slice(from, to);
    });

/** A run of byte pieces is one text where its bytes are UTF-8, else one U+FFFD a byte. */
const joinBytes: DecoderStep = (pieces) => {
  const out: string[] = [];
  let bytes: number[] = [];
  const put = () => {
    const text = decodeStrict(bytes, 0, bytes.length);
    if (text === null) for (const _ of bytes) out.push("\ufffd");
    else if (bytes.length > 0) out.push(text);
    bytes = [];
  };
  for (const piece of pieces) {
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
    if (byte) {
      bytes.push(Number.parseInt(byte[1], 16));
      continue;
    }
    put();
    out.push(piece);
  }
  put();
  return out;
};
