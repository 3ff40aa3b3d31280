import {
  ASCII_QUOTE,
  ASCII_TERMINATOR,
  CLOSER,
  CLOSER_OF,
  classOf,
  DOT,
  ELLIPSIS,
  isAsciiWord,
  isDigit,
  isSpace,
  isWide,
  NEWLINE,
  OPENER,
  OTHER,
  TERMINATOR,
} from "./characters.ts";
import type { Sentence } from "./document.ts";
import { lineBreakReader } from "./line-breaks.ts";

export interface SentenceOptions {
  /** A longer sentence is cut at the ends of clauses into windows of at most this number of UTF-16 units. */
  maxCharacters?: number;
  /** Receives what was cut. */
  counts?: SentenceCounts;
}

export interface SentenceCounts {
  /** Pieces, windows included. */
  sentences: number;
  /** Sentences that were longer than the limit. */
  longSentences: number;
  /** The windows into which those were cut. */
  windows: number;
}

export const MAX_SENTENCE_CHARACTERS = 300;
/** A character beyond U+FFFF has two units. */
const LEAST_CHARACTERS = 2;

export const emptySentenceCounts = (): SentenceCounts => ({ sentences: 0, longSentences: 0, windows: 0 });

/**
 * Cuts a text into sentences without white space around them: between two of them is only white space. Each is `text.slice(start, end)`.
 * Sentences end with 。！？；… and the closing marks after them, with an English full stop, a blank line, and a line break that is no wrapped
 * line. They do not end inside of 《》, brackets or a short quotation. Throws a RangeError for a limit below 2.
 */
export function splitSentences(text: string, options: SentenceOptions = {}): Sentence[] {
  return Array.from(sentencesOf(text, options)).flat();
}

/** The sentences of {@link splitSentences} one after another, the windows of a long one together: for callers that pause between them. */
export function* sentencesOf(text: string, options: SentenceOptions = {}): Generator<Sentence[], void, void> {
  const { maxCharacters = MAX_SENTENCE_CHARACTERS, counts = emptySentenceCounts() } = options;
  if (!Number.isInteger(maxCharacters) || maxCharacters < LEAST_CHARACTERS) {
    throw new RangeError(`maxCharacters is ${maxCharacters}, expected a whole number from ${LEAST_CHARACTERS}`);
  }
  const isWrapped = lineBreakReader(text);
  for (let start = 0; start < text.length; ) {
    if (isSpace(text.charCodeAt(start))) {
      start++;
      continue;
    }
    const end = sentenceEnd(text, start, isWrapped);
    const last = trimmedEnd(text, start, end);
    const isLong = last - start > maxCharacters;
    const cut = isLong ? windowsOf(text, start, last, maxCharacters) : trimmed(text, start, last);
    if (isLong) {
      counts.longSentences++;
      counts.windows += cut.length;
    }
    counts.sentences += cut.length;
    yield cut;
    start = end;
  }
}

/** The part of a text without white space around it; none where it is empty. */
function trimmed(text: string, from: number, to: number): Sentence[] {
  let start = from;
  while (start < to && isSpace(text.charCodeAt(start))) start++;
  const end = trimmedEnd(text, start, to);
  return start < end ? [{ text: text.slice(start, end), start, end }] : [];
}

function trimmedEnd(text: string, start: number, from: number): number {
  let end = from;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return end;
}

/** Where the sentence that begins at `start` ends. */
function sentenceEnd(text: string, start: number, isWrapped: (at: number) => boolean): number {
  let hasOpenQuote = false;
  let i = start;
  while (i < text.length) {
    const kind = classOf(text.charCodeAt(i));
    if (kind === OTHER || kind === CLOSER) i++;
    else if (kind === ASCII_QUOTE) {
      hasOpenQuote = !hasOpenQuote;
      i++;
    } else if (kind === NEWLINE) {
      if (!isWrapped(i)) return i;
      i += text.startsWith("\r\n", i) ? 2 : 1;
    } else if (kind === OPENER) {
      const close = shortPairEnd(text, i);
      if (close < 0) i++;
      else {
        const isFull = CLOSER_OF.get(text.charCodeAt(i))?.isQuote && endsSentence(classOf(text.charCodeAt(close - 1)));
        const isAnnounced = text.charAt(i - 1) === "：" || text.charAt(i - 1) === ":";
        i = close + 1;
        if (isFull && !continuesAfterQuote(text, i, isAnnounced)) return afterMarks(text, i, hasOpenQuote);
      }
    } else {
      const end = afterMarks(text, i, hasOpenQuote);
      if (isEnd(text, start, i, end, kind)) return end;
      i = afterRun(text, i, kind);
    }
  }
  return i;
}

const endsSentence = (kind: number): boolean =>
  kind === TERMINATOR || kind === ASCII_TERMINATOR || kind === ELLIPSIS || kind === DOT;

/** The place of the mark that closes the one at `open`, or −1 when it is far away or on another line. */
function shortPairEnd(text: string, open: number): number {
  const opener = text.charCodeAt(open);
  const pair = CLOSER_OF.get(opener);
  if (pair === undefined) return -1;
  const limit = Math.min(text.length, open + 1 + pair.maxUnits);
  let depth = 1;
  for (let i = open + 1; i < limit; i++) {
    const unit = text.charCodeAt(i);
    if (unit === opener) depth++;
    else if (unit === pair.closer && --depth === 0) return i;
    else if (classOf(unit) === NEWLINE) return -1;
  }
  return -1;
}

/** Behind terminators and closing marks in any order, from `i`. A quotation mark of ASCII belongs to them when one is open. */
function afterMarks(text: string, i: number, hasOpenQuote: boolean): number {
  let isOpen = hasOpenQuote;
  let end = i;
  for (; end < text.length; end++) {
    const kind = classOf(text.charCodeAt(end));
    if (kind === ASCII_QUOTE && isOpen) isOpen = false;
    else if (!endsSentence(kind) && kind !== CLOSER) break;
  }
  return end;
}

/** Behind a run of the same kind of mark. */
function afterRun(text: string, i: number, kind: number): number {
  let end = i + 1;
  while (end < text.length && classOf(text.charCodeAt(end)) === kind) end++;
  return end;
}

/** The clause continues behind these, so the quotation before them ends no sentence: “真的？”的, “真的？”， */
const CONTINUING = new Set(Array.from("，、：,:的之地得", (character) => character.charCodeAt(0)));

/** Whether the marks from `i` to `end` end the sentence. */
function isEnd(text: string, start: number, i: number, end: number, kind: number): boolean {
  if (end >= text.length) return true;
  const next = text.charCodeAt(end);
  if (kind === DOT) return isFullStop(text, start, i, end);
  if (next === 0xff0c || next === 0x3001) return false; // ，、
  if (kind === ASCII_TERMINATOR && end === i + 1) return !isAsciiWord(next) && !"=&/.-#%".includes(text[end]);
  if (kind === ELLIPSIS) return next !== 0x7b49; // 等
  return true;
}

/** Whether a dot ends a sentence: not in 3.14, example.com, U.S., 1. at the start, nor after an abbreviation. */
function isFullStop(text: string, start: number, i: number, end: number): boolean {
  const before = text.charCodeAt(i - 1);
  const next = text.charCodeAt(end);
  if (end - i >= 3) return !isAsciiWord(next);
  if (i === start || isSpace(before)) return false;
  if (!isSpace(next)) return isWide(before) && isWide(next);
  if (isWide(before)) return true;
  const word = wordBefore(text, start, i);
  if (ABBREVIATIONS.has(word.toLowerCase()) || /^[A-Za-z]$/.test(word)) return false;
  if (isDigit(before) && i - word.length === start) return false;
  let after = end;
  while (after < text.length && isSpace(text.charCodeAt(after))) after++;
  const following = text.charCodeAt(after);
  return !(following >= 0x61 && following <= 0x7a);
}

const ABBREVIATIONS: ReadonlySet<string> = new Set(
  "mr mrs ms dr prof st sr jr no vs etc eg ie fig vol pp ed eds al co corp inc ltd dept est".split(" "),
);
const LONGEST_WORD = 12;

function wordBefore(text: string, start: number, end: number): string {
  let from = end;
  while (from > start && end - from < LONGEST_WORD && isAsciiWord(text.charCodeAt(from - 1))) from--;
  return text.slice(from, end);
}

/** How many characters a speaker's name may have: “走吧。”老王对他说。 */
const SPEAKER_UNITS = 10;

/** Whether a quotation that ends like a sentence is part of a longer one: a comma follows, or its speaker who was not named before it. */
function continuesAfterQuote(text: string, i: number, isAnnounced: boolean): boolean {
  if (i < text.length && CONTINUING.has(text.charCodeAt(i))) return true;
  if (isAnnounced) return false;
  for (let at = i; at < Math.min(text.length, i + SPEAKER_UNITS); at++) {
    if ("说道问喊答叫嚷".includes(text[at])) return true;
    if (!/[\p{L}\p{N}]/u.test(text[at])) return false;
  }
  return false;
}

const CLAUSE_ENDS = new Set(Array.from("，,：:；;—", (character) => character.charCodeAt(0)));

/** Cuts [start, end) into windows of at most `limit` units: behind the last clause end of a window's second half, else behind 、 or a space, else anywhere between two characters. */
function windowsOf(text: string, start: number, end: number, limit: number): Sentence[] {
  const windows: Sentence[] = [];
  let from = start;
  while (end - from > limit) {
    const cut = windowEnd(text, from, limit);
    windows.push(...trimmed(text, from, cut));
    from = cut;
    while (from < end && isSpace(text.charCodeAt(from))) from++;
  }
  windows.push(...trimmed(text, from, end));
  return windows;
}

function windowEnd(text: string, from: number, limit: number): number {
  let second = -1;
  for (let cut = from + limit; cut > from + limit / 2; cut--) {
    const unit = text.charCodeAt(cut - 1);
    if (CLAUSE_ENDS.has(unit) && !isDigit(text.charCodeAt(cut))) return cut;
    if (second < 0 && (unit === 0x3001 || isSpace(unit))) second = cut;
  }
  if (second >= 0) return second;
  const cut = from + limit;
  const isInside = (text.charCodeAt(cut - 1) & 0xfc00) === 0xd800 && (text.charCodeAt(cut) & 0xfc00) === 0xdc00;
  return isInside ? cut - 1 : cut;
}
