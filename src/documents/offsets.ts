/** Places in a text, in UTF-16 code units and in code points. */
export interface CodePointOffsets {
  /** Code points of the whole text. */
  length: number;
  /** The number of code points before a UTF-16 offset. Throws a RangeError outside the text and inside a surrogate pair. */
  toCodePoint(utf16: number): number;
  /** The UTF-16 offset before which the text has this number of code points. Throws a RangeError outside the text. */
  toUtf16(codePoint: number): number;
}

/**
 * The offsets of a text, counted in one pass; one call then costs a binary search over the text's surrogate pairs. Half a surrogate pair
 * counts as a code point, as `Array.from` counts.
 */
export function codePointOffsets(text: string): CodePointOffsets {
  const pairs = pairStarts(text);
  const length = text.length - pairs.length;
  return {
    length,
    toCodePoint(utf16) {
      expectOffset(utf16, text.length, "UTF-16 units");
      const before = countBelow(pairs, utf16, 0);
      if (before > 0 && pairs[before - 1] === utf16 - 1) {
        throw new RangeError(`offset ${utf16} is inside a surrogate pair, expected the start of a character`);
      }
      return utf16 - before;
    },
    toUtf16(codePoint) {
      expectOffset(codePoint, length, "code points");
      // The pair number i begins after pairs[i] − i code points.
      return codePoint + countBelow(pairs, codePoint, 1);
    },
  };
}

function expectOffset(offset: number, length: number, unit: string): void {
  if (Number.isInteger(offset) && offset >= 0 && offset <= length) return;
  throw new RangeError(`offset ${offset}, expected a whole number from 0 to ${length} (${unit})`);
}

/** The UTF-16 offsets of the first halves of all surrogate pairs. */
function pairStarts(text: string): number[] {
  const starts: number[] = [];
  for (let i = 0; i + 1 < text.length; i++) {
    if ((text.charCodeAt(i) & 0xfc00) !== 0xd800 || (text.charCodeAt(i + 1) & 0xfc00) !== 0xdc00) continue;
    starts.push(i);
    i++;
  }
  return starts;
}

/** The number of indices i with starts[i] − i·step < limit; the left side grows with i. */
function countBelow(starts: readonly number[], limit: number, step: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle] - middle * step < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
