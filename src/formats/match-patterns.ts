import { createContext, Script } from "node:vm";
import { UserError } from "../base/errors.ts";
import type { MatchAll, PatternMatch } from "./python-pattern.ts";

/** Time for all expressions of a call over all texts; an expression of a hostile file may backtrack for years. */
const TIMEOUT_MS = 1000;

/** The match of each expression in each text, [expressions][texts]. Throws a UserError, which begins with `where`, when that takes too long. */
export const matchAll: MatchAll = (expressions, texts, where) => {
  const context = createContext({ expressions, texts });
  try {
    const script = new Script("expressions.map((expression) => texts.map((text) => expression.exec(text)))");
    return script.runInContext(context, { timeout: TIMEOUT_MS }) as PatternMatch[][];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? `takes more than ${TIMEOUT_MS / 1000} s` : "is too large";
    throw new UserError(`${where}: the regular expression ${why}.`, {
      hint: "Write the names of the modules as a list.",
    });
  }
};
