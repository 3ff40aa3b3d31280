import type { PageTriple } from "./page-triple.ts";

/** What of the relations is shown. */
export interface Filter {
  /** Labels that are shown; null for all. */
  labels: ReadonlySet<string> | null;
  leastProbability: number;
  /** Part of the name of one of its entities. */
  entity: string;
  state: "all" | "open" | "judged";
}

export const NO_FILTER: Filter = { labels: null, leastProbability: 0, entity: "", state: "all" };

/** What is shown first: relations that are more probable than not. */
export const FIRST_FILTER: Filter = { ...NO_FILTER, leastProbability: 0.5 };

export const SORT_KEYS = ["place", "head", "label", "tail", "probability"] as const;
export interface Order {
  by: (typeof SORT_KEYS)[number];
  isDown: boolean;
}

/** Width, case and traditional forms of characters apart, as people type them. */
const folded = (text: string) => text.normalize("NFKC").toLowerCase();

export function shownTriples(triples: readonly PageTriple[], filter: Filter): PageTriple[] {
  const { labels, leastProbability, state } = filter;
  const entity = folded(filter.entity.trim());
  const has = ({ name, text }: PageTriple["head"]) => folded(name).includes(entity) || folded(text).includes(entity);
  return triples.filter((triple) => {
    if (labels !== null && !labels.has(triple.label)) return false;
    // What a person said is never hidden by a probability.
    if (triple.verdict === null && triple.probability < leastProbability) return false;
    if (state !== "all" && (triple.verdict === null) !== (state === "open")) return false;
    return entity === "" || has(triple.head) || has(triple.tail);
  });
}

/** A collator knows the order of Chinese names. */
const collator = new Intl.Collator("zh-Hans-CN", { numeric: true });

export function sortedTriples(triples: readonly PageTriple[], { by, isDown }: Order): PageTriple[] {
  const sign = isDown ? -1 : 1;
  const value = ({ probability, isOfModel }: PageTriple) => (isOfModel ? probability : 2);
  const compare: Record<Order["by"], (a: PageTriple, b: PageTriple) => number> = {
    place: () => 0,
    head: (a, b) => collator.compare(a.head.name, b.head.name),
    label: (a, b) => collator.compare(a.label, b.label),
    tail: (a, b) => collator.compare(a.tail.name, b.tail.name),
    probability: (a, b) => value(a) - value(b),
  };
  const places = new Map(triples.map((triple, i) => [triple, i]));
  const place = (triple: PageTriple) => places.get(triple) as number;
  // Equal ones stay in the order of the text.
  return triples.toSorted((a, b) => {
    if (by === "place") return sign * (place(a) - place(b));
    return sign * compare[by](a, b) || place(a) - place(b);
  });
}

/** The labels of relations with their numbers, the most frequent first. */
export function labelCounts(triples: readonly PageTriple[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { label } of triples) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || collator.compare(a[0], b[0]));
}

/** Relations in the order of the text: by sentence, then by head and tail. */
export const byPlace = (a: PageTriple, b: PageTriple) =>
  a.sentenceStart - b.sentenceStart || a.head.start - b.head.start || a.tail.start - b.tail.start;
