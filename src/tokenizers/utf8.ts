/** The code point that starts at `at`, or -1 where the bytes before `end` are not well-formed UTF-8 (Unicode 15, table 3-7). */
export function codePointIn(bytes: ArrayLike<number>, at: number, end: number): number {
  const first = bytes[at];
  if (first < 0x80) return first;
  if (first < 0xc2 || first > 0xf4) return -1;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (at + length > end) return -1;
  let codePoint = first & (0xff >> (length + 1));
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i];
    if ((byte & 0xc0) !== 0x80) return -1;
    codePoint = (codePoint << 6) | (byte & 0x3f);
  }
  if (codePoint >= 0xd800 && codePoint <= 0xdfff) return -1;
  return codePoint > 0x10ffff || utf8Bytes(codePoint) !== length ? -1 : codePoint;
}

/** Number of bytes of a code point in UTF-8. */
export function utf8Bytes(codePoint: number): number {
  return codePoint < 0x80 ? 1 : codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
}

/** The text of bytes, or null where they are not UTF-8. A byte-order mark is a character like any other here. */
export function decodeStrict(bytes: ArrayLike<number>, start: number, end: number): string | null {
  let text = "";
  for (let at = start; at < end; ) {
    const codePoint = codePointIn(bytes, at, end);
    if (codePoint < 0) return null;
    text += String.fromCodePoint(codePoint);
    at += utf8Bytes(codePoint);
  }
  return text;
}

/** The text of bytes; each byte that belongs to no character gives one U+FFFD, as SentencePiece does (TextDecoder joins them). */
export function decodeLossy(bytes: ArrayLike<number>): string {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const codePoint = codePointIn(bytes, at, bytes.length);
    text += codePoint < 0 ? "\ufffd" : String.fromCodePoint(codePoint);
    at += codePoint < 0 ? 1 : utf8Bytes(codePoint);
  }
  return text;
}
