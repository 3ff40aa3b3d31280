import { folded } from "./folding.ts";
import { isWhole, type Mention, type MentionFinder } from "./mention.ts";

/** The finder of names in a column of the input, and what it could not use. */
export interface ColumnFinder extends MentionFinder {
  readonly counts: {
    /** Documents without the column. */
    without: number;
    /** Names that are not in their document's text. */
    absent: number;
    /** Values that are no names (not text, or over the limits). */
    unusable: number;
  };
}

const MAX_NAMES = 1000;
const MAX_NAME_UNITS = 200;

/**
 * Finds the names that a field of the document gives: text, separated by |, or a list of texts or of `{name, type, id}` objects. Every place
 * of a name is a mention. Names are compared as in a dictionary.
 */
export function columnFinder(column: string, type: string | null): ColumnFinder {
  const counts = { without: 0, absent: 0, unusable: 0 };
  return {
    counts,
    find({ text, fields }) {
      const value = Object.hasOwn(fields, column) ? fields[column] : undefined;
      if (value === undefined || value === null || value === "") {
        counts.without++;
        return [];
      }
      const given = typeof value === "string" ? value.split("|") : Array.isArray(value) ? value : [value];
      counts.unusable += Math.max(0, given.length - MAX_NAMES);
      const plain = folded(text);
      return given.slice(0, MAX_NAMES).flatMap((one): Mention[] => {
        const entity = entityOf(one, type);
        if (entity === null) {
          counts.unusable++;
          return [];
        }
        const found = places(plain, folded(entity.name)).map((place) => ({ ...place, ...entity }));
        if (found.length === 0) counts.absent++;
        return found;
      });
    },
  };
}

function entityOf(value: unknown, type: string | null): Omit<Mention, "start" | "end"> | null {
  const object: Record<string, unknown> = typeof value === "object" && value !== null ? { ...value } : { name: value };
  const name = typeof object.name === "string" ? object.name.trim() : "";
  if (name === "" || name.length > MAX_NAME_UNITS) return null;
  const id = typeof object.id === "string" || typeof object.id === "number" ? String(object.id) : "";
  return { id: id || name, name, type: typeof object.type === "string" && object.type !== "" ? object.type : type };
}

function places(text: string, name: string): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (let start = text.indexOf(name); start >= 0; start = text.indexOf(name, start + name.length)) {
    const end = start + name.length;
    if (isWhole((i) => text.charCodeAt(i), start, end, text.length)) found.push({ start, end });
  }
  return found;
}
