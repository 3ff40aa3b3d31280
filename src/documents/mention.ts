import type { Document, Sentence } from "./document.ts";

/** A place in a text that names an entity. Offsets are UTF-16 code units into the text, [start, end). */
export interface Mention {
  start: number;
  end: number;
  /** The canonical id: equal for all names of one entity. */
  id: string;
  /** The name of the entity; a mention may be an alias of it. */
  name: string;
  /** null: not known, which no type constraint excludes. */
  type: string | null;
  /** Of a mention that a model found; absent for names that are known. */
  probability?: number;
}

/** longest: mentions do not overlap, a longer one wins over those that begin inside it; all: every name wherever it occurs. */
export type OverlapPolicy = "longest" | "all";

/** Finds mentions in a document that is cut into sentences, from the left, longer ones first. */
export interface MentionFinder {
  find(document: Document, sentences: readonly Sentence[]): Mention[];
}

/** The same by a model, whose numbers are awaited. */
export interface SlowMentionFinder {
  find(document: Document, sentences: readonly Sentence[]): Mention[] | Promise<Mention[]>;
}

/** Finds with several finders. With "longest" the leftmost mention wins, then the longest, then that of the earlier finder. */
export function combinedFinder(finders: readonly MentionFinder[], overlap: OverlapPolicy): MentionFinder {
  return {
    find(document, sentences) {
      return combinedMentions(
        finders.flatMap((finder) => finder.find(document, sentences)),
        overlap,
      );
    },
  };
}

/** Mentions of several finders, those of the earlier one first, by one policy. */
export function combinedMentions(found: readonly Mention[], overlap: OverlapPolicy): Mention[] {
  return overlap === "longest" ? withoutOverlaps(found) : withoutRepeats(found);
}

/** Sort is stable: of equal places the earlier finder's comes first. */
const ordered = (mentions: readonly Mention[]) => mentions.slice().sort((a, b) => a.start - b.start || b.end - a.end);

function withoutOverlaps(mentions: readonly Mention[]): Mention[] {
  let end = 0;
  return ordered(mentions).filter((mention) => {
    if (mention.start < end) return false;
    end = mention.end;
    return true;
  });
}

/** Of the same place under the same id only the first. */
function withoutRepeats(mentions: readonly Mention[]): Mention[] {
  const seen = new Set<string>();
  return ordered(mentions).filter(({ start, end, id }) => {
    const key = `${start} ${end} ${id}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

const isWordUnit = (unit: number) =>
  (unit >= 0x30 && unit <= 0x39) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x61 && unit <= 0x7a);

/** Whether a match [start, end) cuts no Latin word or number in two: "AI" is not in "MAIL". `unitAt` gives folded units. */
export function isWhole(unitAt: (i: number) => number, start: number, end: number, length: number): boolean {
  if (start > 0 && isWordUnit(unitAt(start)) && isWordUnit(unitAt(start - 1))) return false;
  return !(end < length && isWordUnit(unitAt(end - 1)) && isWordUnit(unitAt(end)));
}
