/**
 * The first key that occurs twice in a JSON object or an object inside it; null when there is none. JSON.parse silently keeps the last
 * value and another reader may keep the first, so callers refuse such a file. `text` must be valid JSON.
 */
export function findDuplicateKey(text: string): string | null {
  /** Keys of each open object; null for an open list. */
  const open: (Set<string> | null)[] = [];
  let keyComesNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case "{":
        open.push(new Set());
        keyComesNext = true;
        break;
      case "[":
        open.push(null);
        keyComesNext = false;
        break;
      case "}":
      case "]":
        open.pop();
        keyComesNext = false;
        break;
      case ",":
        keyComesNext = open[open.length - 1] !== null;
        break;
      case '"': {
        const start = at;
        for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
        if (!keyComesNext) break;
        const key = JSON.parse(text.slice(start, at + 1)) as string;
        const keys = open[open.length - 1] as Set<string>;
        if (keys.has(key)) return key;
        keys.add(key);
        keyComesNext = false;
      }
    }
  }
  return null;
}
