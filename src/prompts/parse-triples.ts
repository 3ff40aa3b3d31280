/** A relation between two entities as an answer states it. */
export interface Triple {
  head: string;
  relation: string;
  tail: string;
}

/** A triple with other entities is read up to this length, so that the cost grows only linearly with hostile text. */
const MAX_TRIPLE_CHARS = 1500;

/**
 * Reads the triples `([head],relation,[tail])` of an answer. The entities of the question may hold any characters, commas and brackets
 * included; other entities end at the first bracket with which the triple can be read, and hold no `([`.
 * `rest` is the text outside of the triples and the commas between them, null when there is none, "" for an empty answer.
 */
export function parseTriples(
  text: string,
  asked: { head: string; tail: string },
): { triples: Triple[]; rest: string | null } {
  const triples: Triple[] = [];
  const rest: string[] = [];
  let at = 0;
  let isAfterTriple = false;
  while (at < text.length) {
    const found = tripleAt(text, at, asked);
    if (found !== null) {
      const { head, relation, tail } = found;
      triples.push({ head, relation: relation.trim(), tail });
      at = found.end;
      isAfterTriple = true;
      continue;
    }
    const next = text.indexOf("([", at + 1);
    const end = next < 0 ? text.length : next;
    const between = text.slice(at, end).trim();
    const isSeparator: boolean = between === "" || (isAfterTriple && next >= 0 && /^[,，]$/.test(between));
    if (!isSeparator) rest.push(between);
    isAfterTriple = isAfterTriple && isSeparator;
    at = end;
  }
  if (triples.length === 0 && rest.length === 0) return { triples, rest: "" };
  return { triples, rest: rest.length === 0 ? null : rest.join(" ") };
}

/** A triple with its relation as it is written, and the place behind it. */
interface FoundTriple extends Triple {
  end: number;
}

/** The triple that begins at `at` with "([", null when there is none. Without `asked` the entities are read from the brackets alone. */
export function tripleAt(text: string, at: number, asked: { head: string; tail: string } | null): FoundTriple | null {
  return (asked && askedTripleAt(text, at, asked)) ?? anyTripleAt(text, at);
}

/** The triple at `at` when its entities are those of the question; a label holds no comma. */
function askedTripleAt(text: string, at: number, asked: { head: string; tail: string }): FoundTriple | null {
  const open = `([${asked.head}],`;
  const close = `,[${asked.tail}])`;
  if (!text.startsWith(open, at)) return null;
  const relationStart = at + open.length;
  const relationEnd = text.indexOf(",", relationStart);
  if (relationEnd < 0 || !text.startsWith(close, relationEnd)) return null;
  const relation = text.slice(relationStart, relationEnd);
  return { head: asked.head, relation, tail: asked.tail, end: relationEnd + close.length };
}

function anyTripleAt(text: string, at: number): FoundTriple | null {
  if (!text.startsWith("([", at)) return null;
  // A triple that was broken off must not swallow the next one.
  const next = text.indexOf("([", at + 2);
  const window = text.slice(at, Math.min(next < 0 ? text.length : next, at + MAX_TRIPLE_CHARS));
  for (let headEnd = window.indexOf("],", 2); headEnd >= 0; headEnd = window.indexOf("],", headEnd + 1)) {
    const relationEnd = window.indexOf(",", headEnd + 2);
    if (relationEnd < 0) return null;
    if (!window.startsWith(",[", relationEnd)) continue;
    const tailEnd = window.indexOf("])", relationEnd + 2);
    if (tailEnd < 0) return null;
    return {
      head: window.slice(2, headEnd),
      relation: window.slice(headEnd + 2, relationEnd),
      tail: window.slice(relationEnd + 2, tailEnd),
      end: at + tailEnd + 2,
    };
  }
  return null;
}
