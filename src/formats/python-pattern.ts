import { createContext, Script } from "node:vm";
import { showValue, UserError } from "../base/errors.ts";

// Python's regular expressions in a PEFT configuration, over names of modules.

const MAX_CHARACTERS = 20_000;
/** Time for all expressions of a call over all texts; an expression of a hostile file may backtrack for years. */
const TIMEOUT_MS = 1500;

/** Letters that mean the same after a backslash in both languages, for texts in ASCII. */
const SHARED_ESCAPES = /[dDwWsSbBnrtfv.^$*+?()[\]{}|\\/\-_ :,<>=!&#~'"@%;`]/;
/** What may follow "(?" in both. */
const SHARED_GROUPS = /^(?::|=|!|<=|<!)/;

/**
 * A regular expression of Python's `re` as one of JavaScript with the same matches on texts of ASCII characters. Throws a UserError, which begins
 * with `where`, for an expression that only Python has: flags, conditions, possessive quantifiers and the like.
 */
export function fromPython(source: string, where: string): RegExp {
  const refuse = (part: string): never => {
    throw new UserError(`${where}: ${showValue(source)} has ${showValue(part)}, which is not read here.`, {
      hint: "Write the names of the modules as a list.",
    });
  };
  if (source.length > MAX_CHARACTERS) {
    throw new UserError(`${where}: has ${source.length} characters, expected at most ${MAX_CHARACTERS}.`);
  }
  let out = "";
  let inClass = false;
  for (let i = 0; i < source.length; i++) {
    const rest = source.slice(i, i + 12);
    const character = source[i];
    if (character === "\\") {
      const next = source[i + 1] ?? "";
      if (!SHARED_ESCAPES.test(next) || (inClass && /[bB]/.test(next))) refuse(`\\${next}`);
      out += character + next;
      i++;
    } else if (inClass) {
      if (character === "]") inClass = false;
      out += character;
    } else if (character === "[") {
      // Python reads a bracket that comes first as a character of the class.
      if (/^\[\^?\]/.test(rest)) refuse(rest.slice(0, 3));
      inClass = true;
      out += character;
    } else if (rest.startsWith("(?")) {
      const name = /^\(\?P<([A-Za-z_]\w{0,40})>/.exec(source.slice(i, i + 50));
      if (!name && !SHARED_GROUPS.test(rest.slice(2))) refuse(rest.slice(0, 4));
      out += name ? `(?<${name[1]}>` : "(?";
      i += name ? name[0].length - 1 : 1;
    } else if (/^(?:[*+?]|\{\d*,?\d*\})\+/.test(rest)) refuse(rest.slice(0, 3));
    else if (character === "{" && !/^\{\d+(?:,\d*)?\}/.test(rest)) refuse(rest.slice(0, 3));
    else out += character;
  }
  try {
    return new RegExp(out);
  } catch {
    throw new UserError(`${where}: ${showValue(source)} is not a regular expression.`);
  }
}

/** What an expression finds in a text; null where it finds nothing. */
export type PatternMatch = RegExpExecArray | null;

/** The match of each expression in each text, [expressions][texts]. Throws a UserError, which begins with `where`, when that takes too long. */
export function matchAll(
  expressions: readonly RegExp[],
  texts: readonly string[],
  where: string,
  timeoutMs = TIMEOUT_MS,
): PatternMatch[][] {
  const context = createContext({ expressions, texts });
  try {
    const script = new Script("expressions.map((expression) => texts.map((text) => expression.exec(text)))");
    return script.runInContext(context, { timeout: timeoutMs }) as PatternMatch[][];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? `takes more than ${timeoutMs / 1000} s` : "is too large";
    throw new UserError(`${where}: the regular expression ${why}.`, {
      hint: "Write the names of the modules as a list.",
    });
  }
}
