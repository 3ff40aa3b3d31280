import { RE2JS } from "re2js";
import { messageOf, UserErrors } from "../base/errors.ts";
import type { Mention, MentionFinder } from "./mention.ts";
import { type OnNotice, readTable } from "./name-rows.ts";

const COLUMNS = ["pattern", "type", "id", "name"];
const MAX_PATTERNS = 1000;
const MAX_PATTERN_CHARACTERS = 2000;

interface Pattern {
  expression: RE2JS;
  type: string | null;
  /** The entity of all matches; null: each text is an entity. */
  id: string | null;
  name: string | null;
}

/**
 * Reads regular expressions: a CSV, TSV or JSONL with `pattern`, and optionally `type`, and `id` and `name` of the one entity that all matches
 * name (default: each matching text is an entity). They are RE2's, which need time in proportion to the text: no look-around, no
 * back-references. A sentence is searched at a time; `^` and `$` are its ends. With a group in the pattern the first group is the mention.
 * Throws UserErrors that lists every faulty row.
 */
export async function readPatterns(file: string, onNotice: OnNotice = () => {}): Promise<MentionFinder> {
  const patterns: Pattern[] = [];
  const problems: string[] = [];
  for await (const rows of readTable(file, COLUMNS, ["pattern"], "a table of regular expressions", onNotice)) {
    for (const { line, cells, problem } of rows) {
      const read = problem ?? patternOf(cells);
      if (typeof read === "string") problems.push(`line ${line}: ${read}`);
      else patterns.push(read);
    }
  }
  if (patterns.length > MAX_PATTERNS)
    problems.push(`got ${patterns.length} patterns, expected at most ${MAX_PATTERNS}`);
  if (problems.length > 0) {
    throw new UserErrors(`${file}: ${problems.length} regular expressions cannot be used:`, problems, {
      hint: "They are RE2's: no look-around and no back-references. With a group, the first group is the mention.",
    });
  }
  return {
    find: (_, sentences) =>
      sentences.flatMap(({ text, start }) => patterns.flatMap((pattern) => matches(pattern, text, start))),
  };
}

function patternOf(cells: readonly (string | undefined)[]): Pattern | string {
  const [source = "", type = "", id = "", name = ""] = cells.map((cell) => cell?.trim());
  if (source === "") return "got an empty pattern, expected a regular expression";
  if (source.length > MAX_PATTERN_CHARACTERS) {
    return `got a pattern of ${source.length} characters, expected at most ${MAX_PATTERN_CHARACTERS}`;
  }
  try {
    const expression = RE2JS.compile(source);
    if (expression.matches("")) return `got the pattern ${source}, which matches an empty text`;
    return { expression, type: type || null, id: id || name || null, name: name || id || null };
  } catch (error) {
    return messageOf(error);
  }
}

function matches({ expression, type, id, name }: Pattern, text: string, offset: number): Mention[] {
  const found: Mention[] = [];
  const matcher = expression.matcher(text);
  const group = matcher.groupCount() > 0 ? 1 : 0;
  while (matcher.find()) {
    const [start, end] = [matcher.start(group), matcher.end(group)];
    if (start < 0 || end <= start) continue;
    const own = text.slice(start, end);
    found.push({ start: offset + start, end: offset + end, id: id ?? own, name: name ?? own, type });
  }
  return found;
}
