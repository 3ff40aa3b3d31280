/** No file can hold this key, so nothing read from JSON passes as markup. */
const MARKUP = Symbol("markup");

/** HTML that is safe to write unchanged. */
export interface Markup {
  readonly [MARKUP]: string;
}

type Part = string | number | Markup | readonly Markup[] | null;

/** A template whose values are escaped unless they are markup themselves; null is nothing. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Markup {
  let text = strings[0];
  for (const [i, part] of parts.entries()) text += rendered(part) + strings[i + 1];
  return { [MARKUP]: text };
}

export function markupText(markup: Markup): string {
  return markup[MARKUP];
}

/** Only for text of our own, such as a style sheet. */
export function trusted(text: string): Markup {
  return { [MARKUP]: text };
}

function rendered(part: Part): string {
  if (part === null) return "";
  if (typeof part === "string" || typeof part === "number") return escapeHtml(String(part));
  return MARKUP in part ? part[MARKUP] : part.map(markupText).join("");
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Escapes text for element content and quoted attributes; control characters that HTML forbids become U+FFFD. */
export function escapeHtml(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cs}]/gu, (c) => (/[\t\n\r]/.test(c) ? c : "\uFFFD"))
    .replace(/[&<>"']/g, (c) => ESCAPES[c]);
}
