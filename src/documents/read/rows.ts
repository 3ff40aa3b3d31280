import { showValue } from "../../base/errors.ts";
import { quoted } from "../../data/example.ts";
import { expectWithin, type ReadLimits, ReadProblem } from "./limits.ts";

/** Names under which rows usually keep their text, in the order in which they are looked for. */
export const TEXT_FIELDS: readonly string[] = ["text", "content", "sentence", "正文", "内容"];

const MAX_SHOWN_FIELDS = 20;

/** The text of a row and its other fields. Throws a ReadProblem that names the fields when there is no text. */
export function rowDocument(
  row: Readonly<Record<string, unknown>>,
  textField: string | null,
  limits: ReadLimits,
): { text: string; fields: Record<string, unknown> } {
  const names = textField === null ? TEXT_FIELDS : [textField];
  for (const name of names) {
    const found = takeField(row, name);
    if (found === null) continue;
    const { value, fields } = found;
    // A missing value is an empty document, which is counted.
    if (value === null) return { text: "", fields };
    if (typeof value !== "string") {
      throw new ReadProblem(`has ${showValue(value)} as "${name}", expected a text`);
    }
    expectWithin(limits, "textCharacters", value.length, `characters in "${name}"`);
    if (/\p{Surrogate}/u.test(value)) {
      throw new ReadProblem(`has half a surrogate pair in "${name}", expected whole characters`);
    }
    return { text: value, fields };
  }
  throw new ReadProblem(noTextField(Object.keys(row), textField));
}

/** The reason of rows without a text; `names` are the fields that are there. */
export function noTextField(names: readonly string[], textField: string | null): string {
  const shown = names.slice(0, MAX_SHOWN_FIELDS).map((name) => quoted(name));
  if (names.length > shown.length) shown.push("…");
  const there = shown.length === 0 ? "no fields" : `the fields ${shown.join(", ")}`;
  const wanted = textField === null ? `one of ${TEXT_FIELDS.join(", ")}` : quoted(textField);
  return `has ${there}, expected ${wanted} with the text (name it with --text-field)`;
}

/** The value at a name or a path "a.b", and the row without it; null when it is not there. */
function takeField(
  row: Readonly<Record<string, unknown>>,
  path: string,
): { value: unknown; fields: Record<string, unknown> } | null {
  if (Object.hasOwn(row, path)) {
    const { [path]: value, ...fields } = row;
    return { value, fields };
  }
  for (let dot = path.indexOf("."); dot > 0; dot = path.indexOf(".", dot + 1)) {
    const [key, rest] = [path.slice(0, dot), path.slice(dot + 1)];
    const inner = Object.hasOwn(row, key) ? row[key] : undefined;
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) continue;
    const found = takeField(inner as Record<string, unknown>, rest);
    if (found !== null) return { value: found.value, fields: { ...row, [key]: found.fields } };
  }
  return null;
}
