// What a character means for the ends of sentences, as one table look-up a UTF-16 unit.

export const OTHER = 0;
/** Always ends a sentence: 。！？； */
export const TERMINATOR = 1;
/** ! and ? of ASCII: end a sentence unless a word or an address follows. */
export const ASCII_TERMINATOR = 2;
export const ELLIPSIS = 3;
export const DOT = 4;
export const NEWLINE = 5;
/** 《, “, （ …: see {@link CLOSER_OF}. */
export const OPENER = 6;
export const CLOSER = 7;
/** The quotation mark of ASCII, which opens and closes. */
export const ASCII_QUOTE = 8;

const CLASSES = new Uint8Array(65_536);
const set = (characters: string, value: number) => {
  for (const character of characters) CLASSES[character.charCodeAt(0)] = value;
};
set("。！？；｡‼⁇⁈⁉", TERMINATOR);
set("!?", ASCII_TERMINATOR);
set("…⋯", ELLIPSIS);
set(".", DOT);
set("\n\r\u2028\u2029\u0085\v\f", NEWLINE);
set('"', ASCII_QUOTE);

/** How far a pair of marks may be apart, in UTF-16 units, to be kept whole: a title, a short quotation, a remark in brackets. */
const PAIRS: readonly (readonly [opener: string, closer: string, maxUnits: number])[] = [
  ["《", "》", 60],
  ["〈", "〉", 60],
  ["“", "”", 40],
  ["‘", "’", 40],
  ["「", "」", 40],
  ["『", "』", 40],
  ["（", "）", 60],
  ["(", ")", 60],
  ["【", "】", 60],
  ["〔", "〕", 60],
  ["〖", "〗", 60],
  ["［", "］", 60],
  ["[", "]", 60],
];

/** The code of a closing mark, and how far it may be away, by the code of the opening one. */
export const CLOSER_OF: ReadonlyMap<number, { closer: number; maxUnits: number; isQuote: boolean }> = new Map(
  PAIRS.map(([opener, closer, maxUnits]) => [
    opener.charCodeAt(0),
    { closer: closer.charCodeAt(0), maxUnits, isQuote: "“‘「『".includes(opener) },
  ]),
);
for (const [opener, closer] of PAIRS) {
  set(opener, OPENER);
  set(closer, CLOSER);
}

/** The class of a UTF-16 unit. */
export const classOf = (unit: number): number => CLASSES[unit];

const SPACE_TABLE = new Uint8Array(65_536);
for (let unit = 0; unit < 65_536; unit++) if (/\s/.test(String.fromCharCode(unit))) SPACE_TABLE[unit] = 1;

/** White space as `\s` has it, U+3000 and U+FEFF included. */
export const isSpace = (unit: number): boolean => SPACE_TABLE[unit] === 1;

export const isDigit = (unit: number): boolean => unit >= 0x30 && unit <= 0x39;

export const isAsciiWord = (unit: number): boolean =>
  isDigit(unit) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x61 && unit <= 0x7a) || unit === 0x5f;

/** Chinese characters, kana and marks of full width, by the unit; a surrogate counts, because rare characters are beyond U+FFFF. */
export const isWide = (unit: number): boolean =>
  (unit >= 0x2e80 && unit <= 0xa4cf) || (unit >= 0xac00 && unit <= 0xdfff) || (unit >= 0xf900 && unit <= 0xffef);
