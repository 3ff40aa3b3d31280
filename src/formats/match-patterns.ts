import { createContext, Script } from "node:vm";
import { UserError } from "../base/errors.ts";
import type { PatternMatch } from "./python-pattern.ts";

/** Time for all expressions of a call over all texts; an expression of a hostile file may backtrack for years. */
const TIMEOUT_MS = 1500;

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
