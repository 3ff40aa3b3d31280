/** Rows of a file that a person gives, without labels or with them. */
export interface RowsOfFile {
  examples: { sentence: string; head: string; tail: string; headSpan?: Place; tailSpan?: Place }[];
  /** Lines that are no rows. */
  bad: number;
  /** Rows beyond the most that are asked. */
  left: number;
}

interface Place {
  start: number;
  end: number;
}

/** Reads JSONL or a JSON array of {sentence, head, tail}. Spans are taken where they fit the sentence. */
export function rowsOfFile(text: string, most: number): RowsOfFile {
  const values = valuesOf(text);
  const found: RowsOfFile = { examples: [], bad: 0, left: 0 };
  for (const value of values) {
    const example = exampleOf(value);
    if (example === null) found.bad++;
    else if (found.examples.length === most) found.left++;
    else found.examples.push(example);
  }
  return found;
}

function valuesOf(text: string): unknown[] {
  const trimmed = text.replace(/^\uFEFF/, "").trim();
  if (trimmed.startsWith("[")) {
    const value = parsed(trimmed);
    if (Array.isArray(value)) return value;
  }
  return trimmed
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .map(parsed);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function exampleOf(value: unknown): RowsOfFile["examples"][number] | null {
  if (typeof value !== "object" || value === null) return null;
  const { sentence, head, tail, headSpan, tailSpan } = value as Record<string, unknown>;
  if (typeof sentence !== "string" || typeof head !== "string" || typeof tail !== "string") return null;
  if (head === "" || tail === "" || !sentence.includes(head) || !sentence.includes(tail)) return null;
  const [from, to] = [placeOf(sentence, head, headSpan), placeOf(sentence, tail, tailSpan)];
  return { sentence, head, tail, ...(from ? { headSpan: from } : {}), ...(to ? { tailSpan: to } : {}) };
}

function placeOf(sentence: string, name: string, value: unknown): Place | null {
  const { start, end } = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof start !== "number" || typeof end !== "number") return null;
  return sentence.slice(start, end) === name ? { start, end } : null;
}
