import { UserError } from "../base/errors.ts";
import { type NormalizationRules, readCharsmap } from "./charsmap.ts";
import { createPrefixTrie, type PrefixTrie } from "./prefix-trie.ts";
import type { NormalizerSpec } from "./sentencepiece-model.ts";

/** The visible mark that SentencePiece writes for a space. */
export const SPACE_MARK = "\u2581";

/** Names that mean "no rules" or "rules of the model's maker"; a model with any other name must have rules. */
const NAMES_WITHOUT_RULES = ["", "identity", "user_defined"];

/**
 * Returns the function that normalises text before it is cut into pieces (SentencePiece normalizer.cc): replacement rules of the
 * model, spaces, and the dummy prefix. User-defined symbols stay as they are. Throws a UserError when the rules cannot be read.
 */
export function createNormalizer(
  spec: NormalizerSpec,
  userDefined: PrefixTrie,
  name: string,
): (text: string) => string {
  if (spec.charsmap.length === 0 && !NAMES_WITHOUT_RULES.includes(spec.name)) {
    throw new UserError(
      `${name}: normaliser "${spec.name}" has no rules in the file, expected a precompiled_charsmap.`,
    );
  }
  const rules: NormalizationRules =
    spec.charsmap.length === 0 ? { from: [], to: [] } : readCharsmap(spec.charsmap, name);
  const ruleTrie = createPrefixTrie(rules.from);
  const space = spec.escapeWhitespaces ? SPACE_MARK : " ";
  const prefix = spec.addDummyPrefix ? space : "";
  if (rules.from.length === 0 && !spec.removeExtraWhitespaces) {
    return (text) => (text === "" ? "" : prefix + text.replaceAll(" ", space));
  }

  return (text) => {
    let at = 0;
    /** The replacement of the text at `at`; moves `at` past that text. */
    const take = (): string => {
      const symbol = userDefined.longestAt(text, at);
      const rule = symbol < 0 ? ruleTrie.longestAt(text, at) : -1;
      if (rule >= 0) {
        at += rules.from[rule].length;
        return rules.to[rule];
      }
      const from = at;
      at += symbol >= 0 ? userDefined.keys[symbol].length : unitsAt(text, at);
      return text.slice(from, at);
    };
    if (text === "") return "";
    const collapse = spec.removeExtraWhitespaces;
    let part = take();
    while (collapse && part === " ") {
      if (at >= text.length) return "";
      part = take();
    }
    let normalized = prefix;
    let afterSpace = collapse;
    for (; ; part = take()) {
      let start = 0;
      while (afterSpace && part[start] === " ") start++;
      if (start < part.length) {
        normalized += part.slice(start).replaceAll(" ", space);
        afterSpace = collapse && part.endsWith(" ");
      }
      if (at >= text.length) break;
    }
    if (!collapse) return normalized;
    let end = normalized.length;
    while (normalized.endsWith(space, end) && end > 0) end--;
    return normalized.slice(0, end);
  };
}

function unitsAt(text: string, at: number): number {
  return (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
}
