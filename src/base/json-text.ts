import { messageOf, showValue, UserError } from "./errors.ts";

/** A member of a JSON object: its value as compact JSON text, numbers and key order as they were written. */
export type JsonMembers = ReadonlyMap<string, string>;

/**
 * Parses JSON that another program wrote. Throws a UserError for text that is not JSON and for an object that has a key twice. The message
 * begins with `subject` ("config.json:", "model.bin: the header").
 */
export function parseJson(text: string, subject: string, options: { expected?: string; hint?: string } = {}): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const expected = options.expected === undefined ? "" : `, expected ${options.expected}`;
    throw new UserError(`${subject} is not JSON (${messageOf(error)})${expected}.`, { hint: options.hint });
  }
  const twice = findDuplicateKey(text);
  if (twice === null) return value;
  throw new UserError(`${subject} has the key ${showValue(twice)} twice in one object, expected it once.`);
}

/** The first key that occurs twice in a JSON object or an object inside it; null when there is none. See {@link scanJson}. */
export function findDuplicateKey(text: string): string | null {
  return scanJson(text, null);
}

/**
 * The members of a JSON object. `JSON.parse` rounds numbers that a double cannot hold (an id of 19 digits) and forgets how a number was
 * written (1.0); these texts keep both. `text` must be valid JSON of an object without a duplicate key.
 */
export function readMembers(text: string): JsonMembers {
  const members = new Map<string, string>();
  scanJson(text, members);
  return members;
}

/** The object of `members` as JSON text, with `values` in the place of members of that name or after them. */
export function writeMembers(members: JsonMembers, values: Readonly<Record<string, unknown>> = {}): string {
  const texts = new Map(members);
  for (const [key, value] of Object.entries(values)) if (value !== undefined) texts.set(key, jsonOf(value));
  return `{${Array.from(texts, ([key, text]) => `${JSON.stringify(key)}:${text}`).join(",")}}`;
}

/** JSON text of a value; a bigint (a whole number beyond 2^53) is written with all its digits. */
export function jsonOf(value: unknown): string {
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

/**
 * The number that a JSON number means: a bigint for a whole number beyond 2^53; null when neither a double nor a bigint holds its decimal
 * digits (1e400, more than 17 digits after the point).
 */
export function exactNumber(text: string): number | bigint | null {
  const value = Number(text);
  if (/^-?\d+$/.test(text)) return Number.isSafeInteger(value) ? value : BigInt(text);
  return Number.isFinite(value) && decimal(String(value)) === decimal(text) ? value : null;
}

/** Sign, digits without outer zeros and power of ten: equal for texts of equal numbers. */
function decimal(text: string): string {
  const [, sign, whole, fraction = "", power = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(
    text,
  ) as RegExpExecArray;
  const digits = (whole + fraction).replace(/^0+/, "");
  const shortest = digits.replace(/0+$/, "");
  if (shortest === "") return "0";
  return `${sign}${shortest}e${Number(power) - fraction.length + digits.length - shortest.length}`;
}

/**
 * Passes over valid JSON once. Returns the first key that occurs twice in one object, null when there is none: JSON.parse silently keeps the
 * last value and another reader may keep the first, so callers refuse such a text. Members of the outermost object are added to `members`.
 */
function scanJson(text: string, members: Map<string, string> | null): string | null {
  /** Keys of each open object; null for an open list. */
  const open: (Set<string> | null)[] = [];
  let isKeyNext = false;
  let member: { key: string; parts: string[] } | null = null;
  const endMember = () => {
    if (member !== null) members?.set(member.key, member.parts.join(""));
    member = null;
  };
  for (let at = 0; at < text.length; ) {
    const start = at;
    const character = text[at++];
    if (WHITE_SPACE.has(character)) continue;
    let part = character;
    if (character === '"') {
      at = stringEnd(text, start);
      part = text.slice(start, at);
      if (isKeyNext) {
        isKeyNext = false;
        const key = JSON.parse(part) as string;
        const keys = open[open.length - 1] as Set<string>;
        if (keys.has(key)) return key;
        keys.add(key);
        if (members !== null && open.length === 1) {
          at = text.indexOf(":", at) + 1;
          member = { key, parts: [] };
          continue;
        }
      }
      // Escapes are written as JSON.stringify writes them.
      if (members !== null && part.includes("\\")) part = JSON.stringify(JSON.parse(part));
    } else if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : null);
      isKeyNext = character === "{";
    } else if (character === "}" || character === "]") {
      if (open.length === 1) endMember();
      open.pop();
      isKeyNext = false;
    } else if (character === ",") {
      isKeyNext = open[open.length - 1] !== null;
      if (open.length === 1) {
        endMember();
        continue;
      }
    } else if (character !== ":") {
      while (at < text.length && !ENDS_WORD.has(text[at])) at++;
      part = text.slice(start, at);
    }
    if (members !== null) (member as { parts: string[] } | null)?.parts.push(part);
  }
  return null;
}

const WHITE_SPACE = new Set(" \t\n\r");
const ENDS_WORD = new Set(" \t\n\r,]}");

/** The place behind the string that begins at `start`. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let before = quote - 1;
    while (text[before] === "\\") before--;
    if ((quote - before) % 2 === 1) return quote + 1;
    at = quote;
  }
}
