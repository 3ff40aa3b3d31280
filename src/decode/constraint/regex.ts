import { UserError } from "../../base/errors.ts";
import { type CodeRange, choice, complementOf, EMPTY, type Pattern, repeat, sequence, setOf, text } from "./pattern.ts";

const MAX_CHARACTERS = 4_000;
const MAX_DEPTH = 50;
const MAX_REPEATS = 1_000;

const DIGITS: CodeRange[] = [[0x30, 0x39]];
const WORD: CodeRange[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
// Those of JavaScript.
const SPACES: CodeRange[] = [
  [9, 13],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: CodeRange[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const CLASSES: Record<string, CodeRange[]> = {
  d: DIGITS,
  w: WORD,
  s: SPACES,
  D: complementOf(DIGITS),
  W: complementOf(WORD),
  S: complementOf(SPACES),
};
const CONTROLS: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 };

/**
 * Reads a regular expression of JavaScript as the language of whole texts that it matches: ^ at the start and $ at the end change nothing.
 * Throws a UserError for what a token automaton cannot enforce (look-around, back-references, word boundaries, flags) or has no table of (\p).
 */
export function readRegex(source: string): Pattern {
  if (source.length > MAX_CHARACTERS) {
    throw new UserError(`the pattern has ${source.length} characters, expected at most ${MAX_CHARACTERS}.`);
  }
  const characters = Array.from(source);
  let at = 0;
  const refuse = (what: string, hint?: string): UserError =>
    new UserError(`the pattern has ${what} at character ${at + 1}, which is not supported.`, { hint });
  const broken = (what: string): UserError => new UserError(`the pattern has ${what} at character ${at + 1}.`);

  const alternatives = (depth: number): Pattern => {
    if (depth > MAX_DEPTH) throw refuse(`groups inside ${MAX_DEPTH} groups`);
    const options = [branch(depth)];
    while (characters[at] === "|") {
      at++;
      options.push(branch(depth));
    }
    return options.length === 1 ? options[0] : choice(...options);
  };

  const branch = (depth: number): Pattern => {
    const parts: Pattern[] = [];
    while (at < characters.length && characters[at] !== "|" && characters[at] !== ")") {
      if (characters[at] === "^" && depth === 0 && parts.length === 0) at++;
      else if (characters[at] === "$" && depth === 0 && isBranchEnd(at + 1)) at++;
      else parts.push(quantified(atom(depth)));
    }
    return parts.length === 1 ? parts[0] : parts.length === 0 ? EMPTY : sequence(...parts);
  };
  const isBranchEnd = (place: number) => place === characters.length || characters[place] === "|";

  const atom = (depth: number): Pattern => {
    const character = characters[at];
    if (character === "(") return group(depth);
    if (character === "[") return setOf(characterClass());
    if (character === ".") {
      at++;
      return setOf(complementOf(LINE_ENDS));
    }
    if (character === "^" || character === "$") {
      throw refuse(`the anchor ${character} inside`, "An answer is matched whole: leave the anchor out.");
    }
    if ("*+?".includes(character)) throw broken(`${character} without anything to repeat`);
    if (character === "{" && counts() !== null) throw broken("a count without anything to repeat");
    if (character === "\\") {
      const ranges = escaped(false);
      return typeof ranges === "number" ? text(String.fromCodePoint(ranges)) : setOf(ranges);
    }
    if (/\p{Surrogate}/u.test(character)) throw broken("half a surrogate pair");
    at++;
    return text(character);
  };

  const group = (depth: number): Pattern => {
    at++;
    if (characters[at] === "?") {
      const rest = characters.slice(at, at + 3).join("");
      if (rest.startsWith("?:")) at += 2;
      else if (/^\?<[^=!]/.test(rest)) {
        const end = characters.indexOf(">", at);
        if (end < 0) throw broken("a name that never ends");
        at = end + 1;
      } else throw refuse(/^\?<?[=!]/.test(rest) ? "look-around" : "flags");
    }
    const inside = alternatives(depth + 1);
    if (characters[at] !== ")") throw broken("a group that is never closed");
    at++;
    return inside;
  };

  /** {m}, {m,} or {m,n} at this place, with its end; null for a brace that is a character. */
  const counts = (): { least: number; most: number | null; end: number } | null => {
    const found = /^\{(\d{1,6})(,(\d{0,6}))?\}/.exec(characters.slice(at, at + 20).join(""));
    if (!found) return null;
    const least = Number(found[1]);
    const most = found[2] === undefined ? least : found[3] === "" ? null : Number(found[3]);
    return { least, most, end: at + found[0].length };
  };

  const quantified = (of: Pattern): Pattern => {
    const character = characters[at];
    let bounds: { least: number; most: number | null } | null = null;
    if (character === "*") bounds = { least: 0, most: null };
    else if (character === "+") bounds = { least: 1, most: null };
    else if (character === "?") bounds = { least: 0, most: 1 };
    if (bounds) at++;
    else if (character === "{") {
      const found = counts();
      if (found) {
        bounds = found;
        at = found.end;
      }
    }
    if (!bounds) return of;
    const { least, most } = bounds;
    if (most !== null && most < least) throw broken(`the count {${least},${most}}`);
    if (Math.max(least, most ?? 0) > MAX_REPEATS) throw refuse(`a count over ${MAX_REPEATS}`);
    // A lazy quantifier has the same language.
    if (characters[at] === "?") at++;
    else if (["*", "+", "{"].includes(characters[at]) && (characters[at] !== "{" || counts())) {
      throw broken("a repetition of a repetition");
    }
    return repeat(of, least, most);
  };

  /** The code point, or the ranges, of an escape. */
  const escaped = (inClass: boolean): number | CodeRange[] => {
    at++;
    const character = characters[at];
    if (character === undefined) throw broken("a \\ at its end");
    if (Object.hasOwn(CLASSES, character)) {
      at++;
      return CLASSES[character];
    }
    if (character === "b" && inClass) {
      at++;
      return 8;
    }
    if (/[1-9k]/.test(character)) throw refuse("a back-reference");
    if (/[bB]/.test(character)) throw refuse("a word boundary");
    if (/[pP]/.test(character)) {
      throw refuse(
        "a class of Unicode (\\p)",
        "Write its ranges, for example [\\u4e00-\\u9fff] for Chinese characters.",
      );
    }
    if (Object.hasOwn(CONTROLS, character) && !/^0\d/.test(characters.slice(at, at + 2).join(""))) {
      at++;
      return CONTROLS[character];
    }
    const rest = characters.slice(at, at + 10).join("");
    const hexadecimal = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\})/.exec(rest);
    if (hexadecimal) {
      const code = Number.parseInt(hexadecimal[1] ?? hexadecimal[2] ?? hexadecimal[3], 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw broken("an escape that is no character");
      at += hexadecimal[0].length;
      return code;
    }
    if (/[A-Za-z0-9]/.test(character)) throw refuse(`the escape \\${character}`);
    at++;
    return character.codePointAt(0) as number;
  };

  const characterClass = (): CodeRange[] => {
    at++;
    const isNegated = characters[at] === "^";
    if (isNegated) at++;
    const ranges: CodeRange[] = [];
    const one = (): number | CodeRange[] => {
      if (characters[at] === "\\") return escaped(true);
      return characters[at++].codePointAt(0) as number;
    };
    while (characters[at] !== "]") {
      if (at >= characters.length) throw broken("a class that is never closed");
      const from = one();
      if (typeof from !== "number") {
        ranges.push(...from);
        continue;
      }
      if (characters[at] !== "-" || characters[at + 1] === "]" || characters[at + 1] === undefined) {
        ranges.push([from, from]);
        continue;
      }
      at++;
      const to = one();
      if (typeof to !== "number" || to < from) throw broken("a range without order");
      ranges.push([from, to]);
    }
    at++;
    return isNegated ? complementOf(ranges) : ranges;
  };

  const whole = alternatives(0);
  if (at < characters.length) throw broken("a ) that closes nothing");
  return whole;
}
