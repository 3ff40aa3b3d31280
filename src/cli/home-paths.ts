import { UserError } from "../base/errors.ts";
import { homeHint } from "../base/path-hints.ts";

/** Options whose value is a text of the user's, not a path. */
const TEXTS: readonly string[] = ["--prompt"];

/**
 * Throws a UserError for a word of the command line that begins with "~": the shell did not replace it, and the program would look for, or
 * make, a folder of that name. `./~` means such a folder.
 */
export function expectExpandedPaths(words: readonly string[]): void {
  for (const [i, word] of words.entries()) {
    const path = /^(?:--?[\w.-]+=|[\w.]+=)?(~(?:\/.*)?)$/s.exec(word)?.[1];
    if (path === undefined || TEXTS.includes(words[i - 1]) || TEXTS.some((text) => word.startsWith(`${text}=`)))
      continue;
    throw new UserError(`"${path}": "~" is not the home folder here.`, {
      hint: homeHint(path) ?? `./${path} means a folder of that name.`,
    });
  }
}
